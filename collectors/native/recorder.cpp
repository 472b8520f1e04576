#include "recorder.h"

#include <algorithm>
#include <pthread.h>
#include <sys/syscall.h>

#include "frames.h"
#include "memory.h"

namespace deepseek_prof {

namespace {

constexpr size_t kSegmentBytes = 1u << 18;

struct ThreadExit {
  ThreadState* state = nullptr;
  ~ThreadExit() {
    if (state == nullptr) return;
    state->alive = false;
    if (state->generation != recorder().generation.load()) return;
    state->segments.close();
    state->allocations.close();
  }
};

thread_local ThreadExit thread_exit;

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

Statistics totals(Recorder& r) {
  Statistics sum;
  for (const ThreadState* thread : r.threads) {
    sum.events += thread->events.load(std::memory_order_relaxed);
    sum.layers += thread->layers.load(std::memory_order_relaxed);
    // Asked for after the end too. A thread of an earlier recording has that one's losses.
    if (thread->generation != r.latest) continue;
    sum.dropped += thread->segments.dropped();
    sum.dropped_allocations += thread->allocations.dropped();
  }
  sum.threads = static_cast<uint32_t>(r.threads.size());
  sum.contexts = r.tree.size() - 1;
  sum.steps = r.steps.finished();
  sum.full_steps = r.steps.full_steps();
  return sum;
}

void apply_mode(Recorder& r, RecordMode mode) {
  set_callbacks(r, mode.operators && r.settings.operators ? Callbacks::kOperators : Callbacks::kScopes);
  r.layers_on.store(mode.layers);
}

void after_fork_in_child() {
  Recorder& r = recorder();
  r.generation.store(0);
  new (&r.mutex) std::mutex();
  r.tree.reset_after_fork();
  r.step_segments.abandon();
  r.directory_made.store(false);
  for (ThreadState* thread : r.threads) {
    if (thread->alive) {
      thread->segments.abandon();
      thread->allocations.abandon();
    }
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
  r.calls_ns = 0;
  r.directory_made.store(false);
  for (ThreadState* thread : r.threads) {
    thread->events.store(0);
    thread->layers.store(0);
  }
  r.generation.store(++r.latest);
}

}  // namespace

Recorder& global_recorder = *new Recorder;  // leaked: threads may still record while the process ends
const TickRate tick_rate = TickRate::measure();
constinit thread_local ThreadState* current_thread = nullptr;

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

void adopt(Recorder& r, ThreadState* thread, uint64_t generation) {
  thread->segments.abandon();
  thread->allocations.abandon();
  // Without its folder (a full disk, a removed run) no segment can be made, and every span counts as dropped.
  if (!r.directory_made.load()) make_directory(r);
  thread->tid.store(static_cast<uint64_t>(::syscall(SYS_gettid)));
  thread->handle.store(static_cast<uint64_t>(::pthread_self()));
  const auto configure = [&](SegmentStream& stream, const char* prefix) {
    stream.configure(r.directory + prefix + std::to_string(thread->index), static_cast<uint32_t>(::getpid()),
                     thread->tid.load(), kSegmentBytes, r.settings.max_live_segments, true);
  };
  configure(thread->segments, "/t");
  configure(thread->allocations, "/a");
  thread->generation = generation;
}

void append_step(Recorder& r, uint64_t start_ns, uint64_t dur_ns, uint64_t end_ns) {
  const uint64_t inside_ns = r.steps.ends_with_root_calls() ? std::min(r.calls_ns, dur_ns) : dur_ns;
  r.calls_ns -= std::min(r.calls_ns, inside_ns);
  r.step_segments.append(start_ns, dur_ns, inside_ns, 0, 0, end_ns);
}

void end_step(Recorder& r, uint64_t key, uint64_t end_ns, uint64_t call_ns) {
  const std::lock_guard<std::mutex> lock(r.mutex);
  if (r.generation.load() == 0) return;
  const Statistics sum = totals(r);
  r.calls_ns += call_ns;
  const auto mode = r.steps.tick(key, end_ns, sum.events, sum.layers, r.settings, [&](uint64_t start_ns, uint64_t dur_ns) {
    append_step(r, start_ns, dur_ns, end_ns);
  });
  if (mode.has_value()) apply_mode(r, *mode);
}

ContextTree& tree() { return recorder().tree; }

void start(const std::string& directory, const std::string& process_json, const Settings& settings) {
  Recorder& r = recorder();
  static const int registered = ::pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)registered;
  r.settings = settings;
  begin(r, directory, process_json);
  make_directory(r);
  apply_mode(r, r.steps.initial_mode(settings));
  if (settings.allocations) watch_allocations();
}

void stop() {
  Recorder& r = recorder();
  if (r.generation.load() == 0) return;
  set_callbacks(r, Callbacks::kNone);
  unwatch_allocations();
  r.layers_on.store(false);
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.steps.flush([&](uint64_t start_ns, uint64_t dur_ns) {
    append_step(r, start_ns, dur_ns, start_ns + dur_ns);
  });
  r.step_segments.close();
  r.tree.flush_log();
  // Other threads' segments stay mapped until they exit or record again; what they wrote is in the file already.
  if (current_thread != nullptr) {
    current_thread->segments.close();
    current_thread->allocations.close();
  }
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

void set_default_phase(Phase phase) { recorder().default_phase = phase; }

Position current_position() {
  const Recorder& r = recorder();
  const ThreadState* thread = this_thread();
  if (thread->frames.empty()) return {r.steps.running(), r.default_phase, ""};
  const Frame& top = thread->frames.back();
  return {r.steps.running(), top.phase, top.layer == 0 ? std::string() : std::string(r.tree[top.layer].text)};
}

uint64_t record_clock_ns() { return now_ns(this_thread()); }

std::vector<std::pair<uint64_t, uint64_t>> thread_ids() {
  Recorder& r = recorder();
  const std::lock_guard<std::mutex> lock(r.mutex);
  std::vector<std::pair<uint64_t, uint64_t>> ids;
  for (const ThreadState* thread : r.threads) {
    if (thread->tid.load() != 0) ids.emplace_back(thread->tid.load(), thread->handle.load());
  }
  return ids;
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

void spent(uint64_t ns) {
  Recorder& r = recorder();
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.steps.spent(ns);
}

}  // namespace deepseek_prof
