// The open frames of a thread: pushed and popped by operators, layers and phases, written as records when they close.
// Shared by the files of the recorder, and by nothing else.
#pragma once

#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "clock.h"
#include "recorder.h"
#include "step_clock.h"
#include "thread_state.h"

namespace deepseek_prof {

constexpr uint64_t kMaxForwardThreads = 8192;

// What PyTorch calls us for: what is not registered costs nothing, unlike a callback that returns at once.
enum class Callbacks { kNone, kScopes, kOperators };

struct Recorder {
  ContextTree tree;
  Settings settings;
  std::string directory, process_json;
  std::mutex mutex;                      // guards the fields below, never taken per operator
  std::vector<ThreadState*> threads;     // never freed: a thread may record until the process ends
  std::atomic<uint64_t> generation{0};   // 0: not recording; raised by start, stop and fork
  uint64_t latest = 0;                   // the generation of the present recording, or of the last one
  std::atomic<bool> directory_made{false};
  std::atomic<bool> layers_on{false};
  std::atomic<SequenceTable*> sequences[kMaxForwardThreads] = {};
  Callbacks callbacks = Callbacks::kNone;
  at::CallbackHandle callback_handle = 0;
  bool calibrating = false;
  Phase default_phase = kOther;
  StepClock steps;
  uint64_t calls_ns = 0;                 // in calls of roots that no finished step holds yet
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

extern Recorder& global_recorder;
extern const TickRate tick_rate;
// One pointer fits the loader's spare static TLS; the general model would cost a call at every access.
// Constant-initialized, so that no access has to ask whether it is initialized.
extern constinit __attribute__((tls_model("initial-exec"))) thread_local ThreadState* current_thread;

ThreadState* make_thread();
// Points the thread's segments at the present recording: once per thread and recording.
void adopt(Recorder& r, ThreadState* thread, uint64_t generation);
// `call_ns`: where a root's call ends the step, how long that call took.
void end_step(Recorder& r, uint64_t key, uint64_t end_ns, uint64_t call_ns = 0);
void set_callbacks(Recorder& r, Callbacks callbacks);
std::unique_ptr<at::ObserverContext> on_operator(const at::RecordFunction& fn);
void on_end(const at::RecordFunction& fn, at::ObserverContext*);

inline Recorder& recorder() { return global_recorder; }

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

}  // namespace deepseek_prof
