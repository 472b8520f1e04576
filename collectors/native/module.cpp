// Binds the recorder to Python with the plain CPython API. Every function runs under the GIL.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string>
#include <vector>

#include "memory.h"
#include "recorder.h"

namespace {

using deepseek_prof::LayerName;

PyObject* layer_resolver = nullptr;  // resolve(enclosing module's address, its name, module) -> (how, text, parameter addresses)
PyObject* root_watch = nullptr;      // root_watch() before a root module's call
PyObject* layer_watch = nullptr;     // layer_watch(True) inside a layer that has begun, (False) in one about to end

// An exception in a call of ours is printed and ends here.
void leave_out_error(PyObject* called) {
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
    PyErr_Clear();
    PyErr_SetInterrupt();  // Ctrl-C is the program's, wherever it came
  } else {
    PyErr_WriteUnraisable(called);
  }
}

void tell(PyObject* watch, PyObject* argument) {
  Py_INCREF(watch);  // it may take itself away
  PyObject* answer = PyObject_CallFunctionObjArgs(watch, argument, nullptr);
  if (answer == nullptr) leave_out_error(watch);
  Py_XDECREF(answer);
  Py_DECREF(watch);
}

PyObject* set_watch(PyObject*& watch, PyObject* callback) {
  Py_XSETREF(watch, callback == Py_None ? nullptr : Py_NewRef(callback));
  Py_RETURN_NONE;
}

PyObject* watch_roots(PyObject*, PyObject* callback) { return set_watch(root_watch, callback); }

PyObject* watch_layers(PyObject*, PyObject* callback) { return set_watch(layer_watch, callback); }

PyObject* clock_ns(PyObject*, PyObject*) { return PyLong_FromUnsignedLongLong(deepseek_prof::record_clock_ns()); }

PyObject* thread_ids(PyObject*, PyObject*) {
  const auto ids = deepseek_prof::thread_ids();
  PyObject* found = PyList_New(0);
  for (const auto& [tid, handle] : ids) {
    PyObject* pair = found == nullptr ? nullptr : Py_BuildValue("KK", tid, handle);
    if (pair == nullptr || PyList_Append(found, pair) != 0) Py_CLEAR(found);
    Py_XDECREF(pair);
  }
  return found;
}

PyObject* inputs_note = nullptr;  // note(module, calls) -> whether this is the root whose inputs are counted
const void* counted_root = nullptr;
uint64_t counted_calls = 0;  // since the last note
uint64_t note_due_ns = 0;
constexpr uint64_t kNotePeriodNs = 5'000'000;  // a note takes 4 to 8 us

PyObject* start(PyObject*, PyObject* args) {
  const char *directory, *process_json;
  int operators, signatures, allocations;
  long long first_step, last_step;
  double budget, operator_cost_ns, layer_cost_ns;
  unsigned int max_live;
  PyObject *resolver, *note;
  if (!PyArg_ParseTuple(args, "sspppLLdddIOO", &directory, &process_json, &operators, &signatures, &allocations, &first_step,
                        &last_step, &budget, &operator_cost_ns, &layer_cost_ns, &max_live, &resolver, &note)) {
    return nullptr;
  }
  Py_XSETREF(layer_resolver, Py_NewRef(resolver));
  Py_XSETREF(inputs_note, Py_NewRef(note));
  counted_root = nullptr;
  counted_calls = 0;
  deepseek_prof::Settings settings;
  settings.operators = operators != 0;
  settings.signatures = signatures != 0;
  settings.allocations = allocations != 0;
  settings.first_step = first_step;
  settings.last_step = last_step;
  settings.overhead_budget = budget;
  settings.operator_cost_ns = operator_cost_ns;
  settings.layer_cost_ns = layer_cost_ns;
  settings.max_live_segments = max_live;
  deepseek_prof::start(directory, process_json, settings);
  Py_RETURN_NONE;
}

PyObject* stop(PyObject*, PyObject*) {
  deepseek_prof::stop();
  Py_RETURN_NONE;
}

PyObject* reopen(PyObject*, PyObject* args) {
  const char *directory, *process_json;
  if (!PyArg_ParseTuple(args, "ss", &directory, &process_json)) return nullptr;
  deepseek_prof::reopen(directory, process_json);
  counted_root = nullptr;
  counted_calls = 0;
  Py_RETURN_NONE;
}

PyObject* statistics(PyObject*, PyObject*) {
  const auto s = deepseek_prof::statistics();
  return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:I,s:I}", "events", s.events, "layers", s.layers, "dropped", s.dropped,
                       "dropped_allocations", s.dropped_allocations, "steps", s.steps, "full_steps", s.full_steps, "contexts", s.contexts, "threads", s.threads);
}

PyObject* calibrate(PyObject*, PyObject* in_situ_factor) {
  const double factor = PyFloat_AsDouble(in_situ_factor);
  if (PyErr_Occurred() != nullptr) return nullptr;
  return PyFloat_FromDouble(deepseek_prof::calibrate(factor));
}

PyObject* set_data_worker(PyObject*, PyObject*) {
  deepseek_prof::set_default_phase(deepseek_prof::kDataPhase);
  Py_RETURN_NONE;
}

bool resolve_and_push(PyObject* module) {
  const void* parent = deepseek_prof::enclosing_module();
  PyObject* answer = PyObject_CallFunction(layer_resolver, "NsO", PyLong_FromVoidPtr(const_cast<void*>(parent)),
                                           deepseek_prof::enclosing_layer_name().c_str(), module);
  if (answer == nullptr) return false;
  int how;
  const char* text;
  PyObject* addresses;
  bool done = false;
  if (PyArg_ParseTuple(answer, "isO!", &how, &text, &PyList_Type, &addresses)) {
    std::vector<const void*> parameters;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(addresses); ++i) {
      parameters.push_back(PyLong_AsVoidPtr(PyList_GET_ITEM(addresses, i)));
    }
    deepseek_prof::push_new_layer(module, static_cast<LayerName>(how), text, parameters);
    done = PyErr_Occurred() == nullptr;
  }
  Py_DECREF(answer);
  return done;
}

// The call of a root begins: now and then Python is told, which reads the size of its inputs.
void note_root_call(PyObject* module, uint64_t start_ns) {
  if (counted_root != nullptr && counted_root != module) return;
  ++counted_calls;
  if (counted_root != nullptr && start_ns < note_due_ns) return;
  const auto calls = static_cast<unsigned long long>(counted_calls);
  counted_calls = 0;
  note_due_ns = start_ns + kNotePeriodNs;
  PyObject* answer = PyObject_CallFunction(inputs_note, "OK", module, calls);
  deepseek_prof::restart_frame();
  if (answer == nullptr) {
    leave_out_error(inputs_note);
    return;
  }
  counted_root = answer == Py_True ? module : nullptr;
  Py_DECREF(answer);
}

// Returns True when a frame was opened, which `pop_layer` then has to close.
PyObject* push_layer(PyObject*, PyObject* module) {
  if (__builtin_expect(root_watch != nullptr, 0) && deepseek_prof::enclosing_module() == nullptr) tell(root_watch, nullptr);
  if (!deepseek_prof::layers_enabled()) Py_RETURN_FALSE;
  if (!deepseek_prof::push_known_layer(module) && !resolve_and_push(module)) {
    leave_out_error(layer_resolver);
    Py_RETURN_FALSE;
  }
  const uint64_t root_start_ns = deepseek_prof::root_call_start_ns();
  if (root_start_ns != 0) note_root_call(module, root_start_ns);
  if (__builtin_expect(layer_watch != nullptr, 0)) tell(layer_watch, Py_True);
  Py_RETURN_TRUE;
}

PyObject* pop_layer(PyObject*, PyObject*) {
  if (__builtin_expect(layer_watch != nullptr, 0)) tell(layer_watch, Py_False);
  deepseek_prof::pop_layer();
  Py_RETURN_NONE;
}

PyObject* forget_module(PyObject*, PyObject* address) {
  if (PyLong_AsVoidPtr(address) == counted_root) counted_root = nullptr;
  deepseek_prof::forget_module(PyLong_AsVoidPtr(address));
  Py_RETURN_NONE;
}

PyObject* current_position(PyObject*, PyObject*) {
  const auto position = deepseek_prof::current_position();
  return Py_BuildValue("Lis#", static_cast<long long>(position.step), static_cast<int>(position.phase),
                       position.layer.data(), static_cast<Py_ssize_t>(position.layer.size()));
}

PyObject* push_backward(PyObject*, PyObject*) {
  deepseek_prof::push_phase("backward", deepseek_prof::kBackward);
  Py_RETURN_NONE;
}

PyObject* pop_phase(PyObject*, PyObject*) {
  deepseek_prof::pop_phase();
  Py_RETURN_NONE;
}

PyObject* optimizer_stepped(PyObject*, PyObject* optimizer) {
  deepseek_prof::optimizer_stepped(reinterpret_cast<uintptr_t>(optimizer));
  Py_RETURN_NONE;
}

PyObject* note_tensor(PyObject*, PyObject* args) {
  unsigned long long address, size_bytes, parameter;
  unsigned int role;
  if (!PyArg_ParseTuple(args, "KKIK", &address, &size_bytes, &role, &parameter)) return nullptr;
  deepseek_prof::note_tensor(address, size_bytes, static_cast<deepseek_prof::MemoryEvent>(role),
                             reinterpret_cast<const void*>(parameter));
  Py_RETURN_NONE;
}

PyObject* optimizer_made(PyObject*, PyObject*) {
  deepseek_prof::optimizer_made();
  Py_RETURN_NONE;
}

PyObject* spent(PyObject*, PyObject* ns) {
  const unsigned long long value = PyLong_AsUnsignedLongLong(ns);
  if (PyErr_Occurred()) return nullptr;
  deepseek_prof::spent(value);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"start", start, METH_VARARGS,
     "start(directory, process_json, operators, signatures, allocations, first_step, last_step, budget, operator_cost_ns, "
     "layer_cost_ns, max_live, resolver, inputs_note)"},
    {"stop", stop, METH_NOARGS, "Stop recording; what was written stays."},
    {"reopen", reopen, METH_VARARGS, "reopen(directory, process_json): go on in a forked child."},
    {"statistics", statistics, METH_NOARGS, "Counts of this process as a dict."},
    {"calibrate", calibrate, METH_O, "calibrate(in_situ_factor): measured cost of one operator record in nanoseconds."},
    {"set_data_worker", set_data_worker, METH_NOARGS, "This process loads data for another."},
    {"push_layer", push_layer, METH_O, "Open a layer frame; True if one was opened."},
    {"pop_layer", pop_layer, METH_NOARGS, "Close the innermost layer frame."},
    {"watch_roots", watch_roots, METH_O, "watch_roots(callback or None): called before each call of a root module."},
    {"watch_layers", watch_layers, METH_O, "watch_layers(callback or None): called with True and False in each layer."},
    {"clock_ns", clock_ns, METH_NOARGS, "The time as this thread's records have it, in nanoseconds."},
    {"thread_ids", thread_ids, METH_NOARGS, "(OS thread id, pthread_self()) of each thread that has recorded."},
    {"forget_module", forget_module, METH_O, "forget_module(address): the module was freed."},
    {"current_position", current_position, METH_NOARGS, "(running step or -1, phase code, innermost layer or '') of this thread."},
    {"push_backward", push_backward, METH_NOARGS, "Open the backward phase on this thread."},
    {"pop_phase", pop_phase, METH_NOARGS, "Close the innermost phase of this thread."},
    {"optimizer_stepped", optimizer_stepped, METH_O, "This optimizer has stepped, in the open Optimizer.step scope."},
    {"note_tensor", note_tensor, METH_VARARGS, "note_tensor(address, size_bytes, MemoryEvent, parameter's TensorImpl)"},
    {"optimizer_made", optimizer_made, METH_NOARGS, "The program has an optimizer: steps end with it."},
    {"spent", spent, METH_O, "spent(ns): time taken from the program besides records, for the budget."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_deepseek_prof_recorder", "Native operator recorder.", -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__deepseek_prof_recorder() { return PyModule_Create(&definition); }
