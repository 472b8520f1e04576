// Layers: the frames of nn.Module calls, and which layer owns which parameter. All under the GIL.
#include "frames.h"

namespace deepseek_prof {

namespace {

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

uint64_t root_call_start_ns() {
  const auto& frames = this_thread()->frames;
  const size_t depth = frames.size();
  if (depth == 0 || (depth > 1 && frames[depth - 2].layer != 0)) return 0;
  return frames.back().kind == kLayer && !frames.back().transparent ? frames.back().start_ns : 0;
}

void restart_frame() {
  ThreadState* thread = this_thread();
  thread->frames.back().start_ns = now_ns(thread);
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
  const uint64_t outermost_start_ns = thread->frames.front().start_ns;
  pop_to(thread, module, kLayer);
  thread->layers.store(thread->layers.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (r.steps.ends_with_root_calls() && thread->frames.empty()) {
    const uint64_t end_ns = now_ns(thread);
    end_step(r, key, end_ns, end_ns - outermost_start_ns);
  }
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

}  // namespace deepseek_prof
