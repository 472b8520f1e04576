// Operators: the callbacks that PyTorch calls around each of them, the layer that a backward node belongs to, and what
// a recorded operator costs.
#include <ATen/record_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <sstream>
#include <typeinfo>

#include "frames.h"

namespace deepseek_prof {

namespace {

constexpr uint64_t kGradEnabled = 1u << 8;
constexpr std::string_view kEvaluate = "autograd::engine::evaluate_function: ";

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
  // Two callbacks are registered for a moment while one takes the other's place.
  if (__builtin_expect(!thread->frames.empty() && thread->frames.back().key == &fn, 0)) return nullptr;
  const char* name = fn.name();
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
  } else if (name[0] == 'a' && name[1] == 'u' && std::strncmp(name, kEvaluate.data(), kEvaluate.size()) == 0) {
    if (const uint32_t owner = layer_of_evaluated_node(r, name)) parent = layer = owner;
  } else if (sequence >= 0 && scope == at::RecordScope::FUNCTION) {
    if (__builtin_expect(thread->sequences == nullptr, 0)) {
      thread->sequences = new SequenceTable;
      const uint64_t id = fn.threadId();
      if (id < kMaxForwardThreads) r.sequences[id].store(thread->sequences, std::memory_order_release);
    }
    thread->sequences->put(static_cast<uint64_t>(sequence), layer);
  } else if (scope == at::RecordScope::FUNCTION && name[0] == 'p' && std::strncmp(name, "profiler::_record_function", 26) == 0) {
    return nullptr;  // the operators by which record_function opens its scope: the scope itself is recorded
  }
  const uint64_t place = static_cast<uint64_t>(parent) << 16 | static_cast<uint64_t>(scope) |
                         (sequence >= 0 ? kGradEnabled : 0) | static_cast<uint64_t>(phase) << 9;
  const ContextCache::Slot* known = thread->cache.find(place, name);
  ContextCache::Slot fresh;
  if (__builtin_expect(known == nullptr, 0)) {
    fresh.context = make_context(r, parent, phase, scope, sequence >= 0, name);
    const Node& node = r.tree[fresh.context];
    fresh.phase = node.phase;
    fresh.kind = node.kind;
    fresh.ends_step = node.ends_step;
    thread->cache.insert(place, name, fresh);
    known = &fresh;
  }
  const uint32_t signature = signatures && scope != at::RecordScope::USER_SCOPE ? r.tree.signature(signature_of(fn)) : 0;
  push(thread, &fn, known->context, layer, known->phase, known->kind, signature, false, known->ends_step);
  return nullptr;
}

std::unique_ptr<at::ObserverContext> on_operator_with_inputs(const at::RecordFunction& fn) { return on_start(fn, true); }

}  // namespace

std::unique_ptr<at::ObserverContext> on_operator(const at::RecordFunction& fn) { return on_start(fn, false); }

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

void set_callbacks(Recorder& r, Callbacks callbacks) {
  if (callbacks == r.callbacks) return;
  const at::CallbackHandle before = r.callback_handle;
  if (callbacks == Callbacks::kScopes) {
    r.callback_handle =
        at::addGlobalCallback(at::RecordFunctionCallback(on_operator, on_end).scopes({at::RecordScope::USER_SCOPE}));
  } else if (callbacks == Callbacks::kOperators) {
    // One callback for all scopes: PyTorch goes through the list of callbacks at every node of the backward pass.
    r.callback_handle = at::addGlobalCallback(
        at::RecordFunctionCallback(r.settings.signatures ? on_operator_with_inputs : on_operator, on_end)
            .needsInputs(r.settings.signatures)
            .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE}));
  }
  if (r.callbacks != Callbacks::kNone) at::removeCallback(before);
  r.callbacks = callbacks;
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
  const Callbacks before = r.callbacks;
  std::vector<double> costs;
  r.calibrating = true;
  for (int round = 0; round < kRounds; ++round) {
    const auto position = thread->segments.redirect(scratch.data(), scratch.size());
    set_callbacks(r, Callbacks::kNone);
    const double bare = loop();
    set_callbacks(r, Callbacks::kOperators);
    const double recorded = loop();
    thread->segments.restore(position);
    costs.push_back(recorded - bare + static_cast<double>(sink & 0));
  }
  r.calibrating = false;
  set_callbacks(r, before);
  thread->events.store(events);
  std::sort(costs.begin(), costs.end());
  return std::max(costs[kRounds / 2], 0.0) * in_situ_factor;
}

}  // namespace deepseek_prof
