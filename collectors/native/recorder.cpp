#include "recorder.h"

#include <ATen/record_function.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <typeinfo>

#include "clock.h"
#include "step_clock.h"
#include "thread_state.h"

namespace deepseek_prof {

namespace {

constexpr size_t kSegmentBytes = 1u << 18;
constexpr uint64_t kMaxForwardThreads = 8192;
constexpr uint64_t kGradEnabled = 1u << 8;
constexpr std::string_view kEvaluate = "autograd::engine::evaluate_function: ";

struct Recorder {
  ContextTree tree;
  Settings settings;
  std::string directory, process_json;
  std::mutex mutex;                      // guards the fields below, never taken per operator
  std::vector<ThreadState*> threads;     // never freed: a thread may record until the process ends
  std::atomic<uint64_t> generation{0};   // 0: not recording; raised by start, stop and fork
  uint64_t latest = 0;                   // the generation of the present recording, or of the last one
  std::atomic<bool> directory_made{false};
  std::atomic<bool> operators_on{false};
  std::atomic<bool> layers_on{false};
  std::atomic<SequenceTable*> sequences[kMaxForwardThreads] = {};
  at::CallbackHandle operator_callback = 0, scope_callback = 0;
  bool calibrating = false;
  Phase default_phase = kOther;
  StepClock steps;
  SegmentStream step_segments;
  std::unordered_map<const void*, uint32_t> parameter_owner;
  struct KnownModule {
    std::vector<uint64_t> keys;               // in `module_contexts`
    std::vector<const void*> parameters;
    uint32_t context = 0;                     // of its first call
    bool ambiguous = false;                   // called under several names
  };
  std::unordered_map<uint64_t, uint32_t> module_contexts;  // (parent context, module) -> context; 0-context = transparent
  std::unordered_map<const void*, KnownModule> modules;
};

Recorder& global_recorder = *new Recorder;  // leaked: threads may still record while the process ends
const TickRate tick_rate = TickRate::measure();

inline Recorder& recorder() { return global_recorder; }

struct ThreadExit {
  ThreadState* state = nullptr;
  ~ThreadExit() {
    if (state == nullptr) return;
    state->alive = false;
    if (state->generation == recorder().generation.load()) state->segments.close();
  }
};

// One pointer fits the loader's spare static TLS; the general model would cost a call at every access.
__attribute__((tls_model("initial-exec"))) thread_local ThreadState* current_thread = nullptr;
thread_local ThreadExit thread_exit;

ThreadState* make_thread() {
  Recorder& r = recorder();
  auto* thread = new ThreadState;
  thread->frames.reserve(256);
  const std::lock_guard<std::mutex> lock(r.mutex);
  thread->index = static_cast<uint32_t>(r.threads.size());
  r.threads.push_back(thread);
  thread_exit.state = thread;
  current_thread = thread;
  return thread;
}

bool make_directory(Recorder& r) {
  const std::lock_guard<std::mutex> lock(r.mutex);
  if (r.directory_made.load()) return true;
  if (::mkdir(r.directory.c_str(), 0700) != 0 && errno != EEXIST) return false;
  const std::string path = r.directory + "/process.json";
  if (!r.process_json.empty() && ::access(path.c_str(), F_OK) != 0) {
    const int fd = ::open((path + ".new").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    const bool whole = ::write(fd, r.process_json.data(), r.process_json.size()) == static_cast<ssize_t>(r.process_json.size());
    ::close(fd);
    if (!whole || ::rename((path + ".new").c_str(), path.c_str()) != 0) return false;
  }
  if (!r.tree.open_log(r.directory + "/contexts.log")) return false;
  r.directory_made.store(true);
  return true;
}

// Points the thread's segments at the present recording: once per thread and recording.
void adopt(Recorder& r, ThreadState* thread, uint64_t generation) {
  thread->segments.abandon();
  // Without its folder (a full disk, a removed run) no segment can be made, and every span counts as dropped.
  if (!r.directory_made.load()) make_directory(r);
  thread->segments.configure(r.directory + "/t" + std::to_string(thread->index), static_cast<uint32_t>(::getpid()),
                             static_cast<uint64_t>(::syscall(SYS_gettid)), kSegmentBytes, r.settings.max_live_segments, true);
  thread->generation = generation;
}

inline ThreadState* this_thread() {
  ThreadState* thread = current_thread;
  return __builtin_expect(thread != nullptr, 1) ? thread : make_thread();
}

inline uint64_t now_ns(ThreadState* thread) { return thread->clock.now_ns(tick_rate); }

inline void write(ThreadState* thread, const Frame& frame, uint64_t end_ns) {
  Recorder& r = recorder();
  const uint64_t generation = r.generation.load(std::memory_order_relaxed);
  if (__builtin_expect(thread->generation != generation, 0) && !r.calibrating) {
    if (generation == 0) return;
    adopt(r, thread, generation);
  }
  const uint64_t dur = end_ns > frame.start_ns ? end_ns - frame.start_ns : 0;
  thread->segments.append(frame.start_ns, dur, dur - std::min(dur, frame.child_ns), frame.context, frame.signature, end_ns);
}

inline void push(ThreadState* thread, const void* key, uint32_t context, uint32_t layer, Phase phase, Kind kind,
                 uint32_t signature = 0, bool transparent = false, bool ends_step = false) {
  thread->frames.push_back({key, 0, 0, context, layer, signature, phase, kind, transparent, ends_step});
  // Read last, so that our own work before it counts to the parent's self time, not to the operator.
  thread->frames.back().start_ns = now_ns(thread);
}

void end_step(Recorder& r, uint64_t key, uint64_t end_ns);

// Closes the topmost frame. Frames that lose their end (a scope left open, a generator) are closed by their parent's.
inline void pop(ThreadState* thread, uint64_t end_ns) {
  const Frame& frame = thread->frames.back();
  thread->frames.pop_back();  // its memory stays until the next push
  if (!thread->frames.empty()) {
    Frame& parent = thread->frames.back();
    parent.child_ns += frame.transparent ? frame.child_ns : std::max(end_ns, frame.start_ns) - frame.start_ns;
  }
  if (!frame.transparent) write(thread, frame, end_ns);
}

inline bool pop_to(ThreadState* thread, const void* key, Kind kind) {
  if (!thread->frames.empty() && thread->frames.back().key == key && thread->frames.back().kind == kind) {
    pop(thread, now_ns(thread));
    return true;
  }
  for (size_t depth = thread->frames.size(); depth-- > 0;) {
    if (thread->frames[depth].key != key || thread->frames[depth].kind != kind) continue;
    const uint64_t end_ns = now_ns(thread);
    while (thread->frames.size() > depth) pop(thread, end_ns);
    return true;
  }
  return false;  // opened on another thread, or before the recording began
}

// What a convolution's operations depend on besides its tensors: (input, weight, bias, stride, padding, dilation, …).
void append_convolution(const at::RecordFunction& fn, std::ostringstream& text) {
  const std::string_view name = fn.name();
  if (name != "aten::convolution" && name != "aten::conv1d" && name != "aten::conv2d" && name != "aten::conv3d") return;
  const auto inputs = fn.inputs();
  constexpr const char* attributes[] = {"stride", "padding", "dilation"};
  for (size_t i = 0; i < 3 && i + 3 < inputs.size(); ++i) {
    if (!inputs[i + 3].isIntList()) continue;
    text << '|' << attributes[i] << '=';
    bool first = true;
    for (const int64_t value : inputs[i + 3].toIntList()) {
      text << (first ? "" : ",") << value;
      first = false;
    }
  }
  if (inputs.size() > 6 && inputs[6].isBool()) text << "|transposed=" << (inputs[6].toBool() ? 1 : 0);
}

std::string signature_of(const at::RecordFunction& fn) {
  std::ostringstream text;
  bool first = true;
  const auto tensor = [&](const at::Tensor& value) {
    if (!first) text << ';';
    first = false;
    if (!value.defined()) return;
    text << c10::toString(value.scalar_type()) << '[';
    const bool known = !value.unsafeGetTensorImpl()->is_python_dispatch() && value.layout() == c10::kStrided &&
                       !value.unsafeGetTensorImpl()->has_symbolic_sizes_strides();
    for (int64_t i = 0; known && i < value.dim(); ++i) text << (i == 0 ? "" : ",") << value.sizes()[i];
    text << ']';
  };
  for (const auto& input : fn.inputs()) {
    if (input.isTensor()) {
      tensor(input.toTensor());
    } else if (input.isTensorList()) {
      for (const at::Tensor& value : input.toTensorVector()) tensor(value);
    }
    if (text.tellp() > 2000) break;
  }
  append_convolution(fn, text);
  return text.str();
}

// Slow path: a path that this thread meets for the first time.
uint32_t make_context(Recorder& r, uint32_t parent, Phase inherited, at::RecordScope scope, bool grad, std::string_view name) {
  Kind kind = kOp;
  Phase phase = inherited;
  bool ends_step = false;
  const auto starts = [&](std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; };
  if (scope == at::RecordScope::BACKWARD_FUNCTION || starts(kEvaluate)) {
    kind = kAutograd;
    phase = kBackward;
  } else if (scope == at::RecordScope::USER_SCOPE) {
    kind = kUser;
    if (starts("Optimizer.")) {
      phase = kOptimizer;
      ends_step = starts("Optimizer.step#");
    } else if (starts("enumerate(DataLoader)#")) {
      kind = kData;
      phase = kDataPhase;
    } else if (starts("ProfilerStep#")) {
      name = "ProfilerStep*";  // torch.profiler numbers it; one path, not one a step
    } else if (starts("gloo:") || starts("nccl:")) {
      kind = kCollective;
    }
  } else {
    if (starts("c10d::") || starts("_c10d_functional::")) kind = kCollective;
    // Outside any layer and scope: with autograd recording it is the user's functional forward code.
    if (phase == kOther && grad) phase = kForward;
  }
  return r.tree.child(parent, kind, phase, name, ends_step);
}

uint32_t layer_of_node(Recorder& r, uint64_t forward_thread, int64_t sequence) {
  if (sequence < 0 || forward_thread >= kMaxForwardThreads) return 0;
  const SequenceTable* table = r.sequences[forward_thread].load(std::memory_order_acquire);
  return table == nullptr ? 0 : r.tree.backward_twin(table->layer_of(static_cast<uint64_t>(sequence)));
}

// The layer whose gradient the autograd engine computes now on this thread.
uint32_t layer_of_evaluated_node(Recorder& r, std::string_view name) {
  const auto node = torch::autograd::get_current_node();
  if (!node) return 0;
  constexpr std::string_view leaf = "AccumulateGrad";
  const bool is_leaf = name.size() > leaf.size() && name.substr(name.size() - leaf.size()) == leaf;
  if (!is_leaf) return layer_of_node(r, node->thread_id(), static_cast<int64_t>(node->sequence_nr()));
  // A cast that searches the class hierarchy would cost more than everything else here.
  const torch::autograd::Node& evaluated = *node;
  if (typeid(evaluated) != typeid(torch::autograd::AccumulateGrad)) return 0;
  const at::Tensor& variable = static_cast<const torch::autograd::AccumulateGrad&>(evaluated).variable;
  if (!variable.defined()) return 0;
  uint32_t owner = 0;
  {
    const std::lock_guard<std::mutex> lock(r.mutex);
    const auto found = r.parameter_owner.find(variable.unsafeGetTensorImpl());
    if (found != r.parameter_owner.end()) owner = found->second;
  }
  return r.tree.backward_twin(owner);
}

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& fn, bool signatures) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  const char* name = fn.name();
  const size_t size = std::strlen(name);
  const at::RecordScope scope = fn.scope();
  uint32_t parent = 0, layer = 0;
  Phase phase = r.default_phase;
  if (!thread->frames.empty()) {
    const Frame& top = thread->frames.back();
    parent = top.context;
    layer = top.layer;
    phase = top.phase;
  }
  const int64_t sequence = fn.seqNr();
  if (scope == at::RecordScope::BACKWARD_FUNCTION) {
    if (thread->frames.empty() || thread->frames.back().kind != kAutograd) {
      if (const uint32_t owner = layer_of_node(r, fn.forwardThreadId(), sequence)) parent = layer = owner;
    }
  } else if (size > kEvaluate.size() && name[4] == 'g' && std::memcmp(name, kEvaluate.data(), kEvaluate.size()) == 0) {
    if (const uint32_t owner = layer_of_evaluated_node(r, std::string_view(name, size))) parent = layer = owner;
  } else if (sequence >= 0 && scope == at::RecordScope::FUNCTION) {
    if (__builtin_expect(thread->sequences == nullptr, 0)) {
      thread->sequences = new SequenceTable;
      const uint64_t id = fn.threadId();
      if (id < kMaxForwardThreads) r.sequences[id].store(thread->sequences, std::memory_order_release);
    }
    thread->sequences->put(static_cast<uint64_t>(sequence), layer);
  } else if (scope == at::RecordScope::FUNCTION && std::strncmp(name, "profiler::_record_function", 26) == 0) {
    return nullptr;  // the operators by which record_function opens its scope: the scope itself is recorded
  }
  const uint64_t traits = static_cast<uint64_t>(scope) | (sequence >= 0 ? kGradEnabled : 0) | static_cast<uint64_t>(phase) << 9;
  const uint64_t key = mix(hash_text(name, size), static_cast<uint64_t>(parent) << 16 | traits) | 1;
  const ContextCache::Slot* known = thread->cache.find(key);
  ContextCache::Slot fresh;
  if (__builtin_expect(known == nullptr, 0)) {
    const uint32_t context = make_context(r, parent, phase, scope, sequence >= 0, std::string_view(name, size));
    const Node& node = r.tree[context];
    fresh = {key, context, 0, node.phase, node.kind, node.ends_step};
    thread->cache.insert(fresh);
    known = &fresh;
  }
  const uint32_t signature = signatures ? r.tree.signature(signature_of(fn)) : 0;
  push(thread, &fn, known->context, layer, known->phase, known->kind, signature, false, known->ends_step);
  return nullptr;
}

std::unique_ptr<at::ObserverContext> on_operator(const at::RecordFunction& fn) { return on_start(fn, false); }
std::unique_ptr<at::ObserverContext> on_operator_with_inputs(const at::RecordFunction& fn) { return on_start(fn, true); }

void on_end(const at::RecordFunction& fn, at::ObserverContext*) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  for (size_t depth = thread->frames.size(); depth-- > 0;) {
    if (thread->frames[depth].key != &fn) continue;
    const uint64_t end_ns = now_ns(thread);
    while (thread->frames.size() > depth + 1) pop(thread, end_ns);
    const bool ends_step = thread->frames.back().ends_step;
    pop(thread, end_ns);
    // Own cache line, one writer: a plain load and store.
    thread->events.store(thread->events.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (__builtin_expect(ends_step, 0) && r.steps.stepped_optimizer() != 0) {
      end_step(r, r.steps.take_stepped_optimizer(), end_ns);
    }
    return;
  }
}

// Adds or removes the operator callback: what is not there costs nothing, unlike a callback that returns at once.
void set_operators(Recorder& r, bool on) {
  if (on == r.operators_on.load()) return;
  r.operators_on.store(on);
  if (!on) {
    at::removeCallback(r.operator_callback);
    return;
  }
  r.operator_callback = at::addGlobalCallback(
      at::RecordFunctionCallback(r.settings.signatures ? on_operator_with_inputs : on_operator, on_end)
          .needsInputs(r.settings.signatures)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

Statistics totals(Recorder& r) {
  Statistics sum;
  for (const ThreadState* thread : r.threads) {
    sum.events += thread->events.load(std::memory_order_relaxed);
    sum.layers += thread->layers.load(std::memory_order_relaxed);
    // Asked for after the end too. A thread of an earlier recording has that one's losses.
    if (thread->generation == r.latest) sum.dropped += thread->segments.dropped();
  }
  sum.threads = static_cast<uint32_t>(r.threads.size());
  sum.contexts = r.tree.size() - 1;
  sum.steps = r.steps.finished();
  sum.full_steps = r.steps.full_steps();
  return sum;
}

void apply_mode(Recorder& r, RecordMode mode) {
  set_operators(r, mode.operators && r.settings.operators);
  r.layers_on.store(mode.layers);
}

void end_step(Recorder& r, uint64_t key, uint64_t end_ns) {
  const std::lock_guard<std::mutex> lock(r.mutex);
  if (r.generation.load() == 0) return;
  const Statistics sum = totals(r);
  const auto mode = r.steps.tick(key, end_ns, sum.events, sum.layers, r.settings, [&](uint64_t start_ns, uint64_t dur_ns) {
    r.step_segments.append(start_ns, dur_ns, dur_ns, 0, 0, end_ns);
  });
  if (mode.has_value()) apply_mode(r, *mode);
}

void after_fork_in_child() {
  Recorder& r = recorder();
  r.generation.store(0);
  new (&r.mutex) std::mutex();
  r.tree.reset_after_fork();
  r.step_segments.abandon();
  r.directory_made.store(false);
  for (ThreadState* thread : r.threads) {
    if (thread->alive) thread->segments.abandon();
    thread->generation = 0;
    thread->frames.clear();
    thread->events.store(0);
    thread->layers.store(0);
  }
}

void begin(Recorder& r, const std::string& directory, const std::string& process_json) {
  r.directory = directory;
  r.process_json = process_json;
  r.step_segments.abandon();
  r.step_segments.configure(directory + "/steps", static_cast<uint32_t>(::getpid()), 0, 1u << 16, 1u << 20, false);
  r.steps.reset();
  r.directory_made.store(false);
  for (ThreadState* thread : r.threads) {
    thread->events.store(0);
    thread->layers.store(0);
  }
  r.generation.store(++r.latest);
}

void push_layer_frame(ThreadState* thread, const void* module, uint32_t context) {
  Recorder& r = recorder();
  if (context == 0) {  // transparent: the wrapped module stands for it
    const Frame top = thread->frames.empty() ? Frame{} : thread->frames.back();
    push(thread, module, top.context, top.layer, thread->frames.empty() ? r.default_phase : top.phase, kLayer, 0, true);
    return;
  }
  push(thread, module, context, context, r.tree[context].phase, kLayer);
  r.steps.activity(thread->frames.back().start_ns);
}

uint64_t module_key(const ThreadState* thread, const void* module) {
  const uint32_t parent = thread->frames.empty() ? 0 : thread->frames.back().context;
  return mix(reinterpret_cast<uintptr_t>(module), parent) | 1;
}

}  // namespace

ContextTree& tree() { return recorder().tree; }

void start(const std::string& directory, const std::string& process_json, const Settings& settings) {
  Recorder& r = recorder();
  static const int registered = ::pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)registered;
  r.settings = settings;
  begin(r, directory, process_json);
  make_directory(r);
  r.scope_callback = at::addGlobalCallback(
      at::RecordFunctionCallback(on_operator, on_end).scopes({at::RecordScope::USER_SCOPE}));
  apply_mode(r, r.steps.initial_mode(settings));
}

void stop() {
  Recorder& r = recorder();
  if (r.generation.load() == 0) return;
  set_operators(r, false);
  r.layers_on.store(false);
  at::removeCallback(r.scope_callback);
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.steps.flush([&](uint64_t start_ns, uint64_t dur_ns) {
    r.step_segments.append(start_ns, dur_ns, dur_ns, 0, 0, start_ns + dur_ns);
  });
  r.step_segments.close();
  r.tree.flush_log();
  // Other threads' segments stay mapped until they exit or record again; what they wrote is in the file already.
  if (current_thread != nullptr) current_thread->segments.close();
  r.generation.store(0);
}

void reopen(const std::string& directory, const std::string& process_json) { begin(recorder(), directory, process_json); }

Statistics statistics() {
  Recorder& r = recorder();
  const std::lock_guard<std::mutex> lock(r.mutex);
  Statistics sum = totals(r);
  sum.dropped += r.step_segments.dropped();
  return sum;
}

double calibrate(double in_situ_factor) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  constexpr int kOperators = 400, kRounds = 5;
  std::vector<Record> scratch(kOperators * 2);
  // Real operators push our code and data out of the first-level caches; an empty loop would measure a third of the
  // cost that programs pay.
  std::vector<uint64_t> disturbance(96 * 1024 / 8);
  uint64_t sink = 0;
  // A real operator: the dispatcher leaves its fast path for a recorded one, which is half of the cost.
  const c10::InferenceMode no_autograd;
  const at::Tensor tensor = at::empty({1});
  const auto loop = [&] {
    uint64_t spent_ns = 0;
    for (int i = 0; i < kOperators; ++i) {
      for (size_t line = 0; line < disturbance.size(); line += 8) sink += ++disturbance[line];
      const uint64_t begin_ns = monotonic_ns();
      tensor.view({1});
      spent_ns += monotonic_ns() - begin_ns;
    }
    return static_cast<double>(spent_ns) / kOperators;
  };
  const uint64_t events = thread->events.load();
  const bool was_on = r.operators_on.load();
  std::vector<double> costs;
  r.calibrating = true;
  for (int round = 0; round < kRounds; ++round) {
    const auto position = thread->segments.redirect(scratch.data(), scratch.size());
    set_operators(r, false);
    const double bare = loop();
    set_operators(r, true);
    const double recorded = loop();
    thread->segments.restore(position);
    costs.push_back(recorded - bare + static_cast<double>(sink & 0));
  }
  r.calibrating = false;
  set_operators(r, was_on);
  thread->events.store(events);
  std::sort(costs.begin(), costs.end());
  return std::max(costs[kRounds / 2], 0.0) * in_situ_factor;
}

void set_default_phase(Phase phase) { recorder().default_phase = phase; }
bool layers_enabled() { return recorder().layers_on.load(std::memory_order_relaxed); }

bool push_known_layer(const void* module) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  const auto found = r.module_contexts.find(module_key(thread, module));
  if (found == r.module_contexts.end()) return false;
  push_layer_frame(thread, module, found->second);
  return true;
}

const void* enclosing_module() {
  const ThreadState* thread = this_thread();
  for (size_t depth = thread->frames.size(); depth-- > 0;) {
    if (thread->frames[depth].kind == kLayer) return thread->frames[depth].key;
  }
  return nullptr;
}

std::string enclosing_layer_name() {
  const Recorder& r = recorder();
  const ThreadState* thread = this_thread();
  const uint32_t layer = thread->frames.empty() ? 0 : thread->frames.back().layer;
  if (layer == 0 || r.tree[layer].parent == 0 || r.tree[r.tree[layer].parent].layer == 0) return "";
  return r.tree[layer].text;
}

void push_new_layer(const void* module, LayerName how, const std::string& text, const std::vector<const void*>& parameters) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  uint32_t parent = 0, layer = 0;
  Phase phase = r.default_phase;
  if (!thread->frames.empty()) {
    parent = thread->frames.back().context;
    layer = thread->frames.back().layer;
    phase = thread->frames.back().phase;
  }
  // In an optimizer's step it is the closure's forward.
  if (phase == kOther || phase == kOptimizer) phase = kForward;
  Recorder::KnownModule& known = r.modules[module];
  uint32_t context = 0;
  if (how == LayerName::kRoot && known.context != 0 && !known.ambiguous && r.tree[known.context].layer == known.context &&
      r.tree[r.tree[known.context].parent].layer != 0 && enclosing_module() == nullptr) {
    // A part of a model called on its own, as activation checkpointing does in backward: it keeps its place.
    context = phase == kBackward ? r.tree.backward_twin(known.context) : known.context;
  } else if (how != LayerName::kTransparent) {
    context = r.tree.child(parent, kLayer, phase, text);
  }
  if (context != 0) {
    if (known.context == 0) known.context = context;
    else if (r.tree[known.context].text != r.tree[context].text) known.ambiguous = true;
    const std::lock_guard<std::mutex> lock(r.mutex);
    for (const void* parameter : parameters) {
      uint32_t& owner = r.parameter_owner[parameter];
      // The deepest layer that holds it; of several (tied weights), the first.
      if (owner == 0 || (r.tree.is_ancestor(owner, context) && owner != context)) {
        owner = context;
        known.parameters.push_back(parameter);
      }
    }
  }
  const uint64_t key = module_key(thread, module);
  r.module_contexts[key] = context;
  known.keys.push_back(key);
  push_layer_frame(thread, module, context);
}

void pop_layer() {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  const void* module = enclosing_module();
  if (module == nullptr) return;
  const uint64_t key = reinterpret_cast<uintptr_t>(module);
  pop_to(thread, module, kLayer);
  thread->layers.store(thread->layers.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (r.steps.ends_with_root_calls() && thread->frames.empty()) end_step(r, key, now_ns(thread));
}

void forget_module(const void* module) {
  Recorder& r = recorder();
  const auto found = r.modules.find(module);
  if (found == r.modules.end()) return;
  for (const uint64_t key : found->second.keys) r.module_contexts.erase(key);
  {
    const std::lock_guard<std::mutex> lock(r.mutex);
    for (const void* parameter : found->second.parameters) r.parameter_owner.erase(parameter);
  }
  r.modules.erase(found);
}

Position current_position() {
  const Recorder& r = recorder();
  const ThreadState* thread = this_thread();
  if (thread->frames.empty()) return {r.steps.running(), r.default_phase, ""};
  const Frame& top = thread->frames.back();
  return {r.steps.running(), top.phase, top.layer == 0 ? std::string() : std::string(r.tree[top.layer].text)};
}

void push_phase(const char* text, Phase phase) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  const uint32_t parent = thread->frames.empty() ? 0 : thread->frames.back().context;
  const uint32_t layer = thread->frames.empty() ? 0 : thread->frames.back().layer;
  push(thread, text, r.tree.child(parent, kPhase, phase, text), layer, phase, kPhase);
}

void pop_phase() {
  ThreadState* thread = this_thread();
  for (size_t depth = thread->frames.size(); depth-- > 0;) {
    if (thread->frames[depth].kind != kPhase) continue;
    pop_to(thread, thread->frames[depth].key, kPhase);
    return;
  }
}

void optimizer_stepped(uint64_t key) {
  Recorder& r = recorder();
  ThreadState* thread = this_thread();
  r.steps.set_stepped_optimizer(key);
  for (const Frame& frame : thread->frames) {
    if (frame.ends_step) return;  // the end of its scope ends the step
  }
  // torch.compile drops the scope: the step ends here.
  end_step(r, r.steps.take_stepped_optimizer(), now_ns(thread));
}
void optimizer_made() { recorder().steps.optimizer_made(); }

}  // namespace deepseek_prof
