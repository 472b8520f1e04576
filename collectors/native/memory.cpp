// Allocations of CPU memory. PyTorch's own reporting goes to one receiver a thread, which is the user's torch.profiler
// where there is one; so ours is an allocator in front of PyTorch's, which reports to its receiver as ever.
#include "memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include "frames.h"

namespace deepseek_prof {

namespace {

void record(MemoryEvent event, uint64_t address, uint64_t size_bytes, uint32_t context) {
  Recorder& r = recorder();
  const uint64_t generation = r.generation.load(std::memory_order_relaxed);
  if (generation == 0) return;
  ThreadState* thread = this_thread();
  if (!thread->alive) return;  // freed by what the thread destroys last: its files are closed
  if (__builtin_expect(thread->generation != generation, 0)) {
    // A fork that only lets go of its parent's tensors leaves nothing behind.
    if (event == kFreed && !r.directory_made.load()) return;
    adopt(r, thread, generation);
  }
  const uint64_t time_ns = now_ns(thread);
  thread->allocations.append_wide(time_ns, size_bytes, address, context, event, time_ns);
}

uint32_t innermost_context() {
  const ThreadState* thread = this_thread();
  return thread->frames.empty() ? 0 : thread->frames.back().context;
}

class RecordingAllocator final : public c10::Allocator {
 public:
  explicit RecordingAllocator(c10::Allocator* base) : base_(base), delete_(base->raw_deleter()) {}

  c10::DataPtr allocate(size_t size_bytes) override {
    c10::DataPtr data = base_->allocate(size_bytes);
    // Recorded after the memory is ours and before it is given back: no other thread has the address in between.
    if (data.get() != nullptr && data.compare_exchange_deleter(delete_, &free_recorded)) {
      record(kAllocated, reinterpret_cast<uintptr_t>(data.get()), size_bytes, innermost_context());
    }
    return data;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_recorded; }
  void copy_data(void* target, const void* source, std::size_t count) const override {
    base_->copy_data(target, source, count);
  }
  c10::Allocator* base() const { return base_; }

 private:
  static void free_recorded(void* data);
  c10::Allocator* base_;
  c10::DeleterFnPtr delete_;
};

// Leaked, and kept once made: tensors that outlive the recording still end with `free_recorded`.
RecordingAllocator* watching = nullptr;

void RecordingAllocator::free_recorded(void* data) {
  if (data != nullptr) record(kFreed, reinterpret_cast<uintptr_t>(data), 0, innermost_context());
  watching->delete_(data);
}

}  // namespace

void watch_allocations() {
  c10::Allocator* present = c10::GetAllocator(c10::DeviceType::CPU);
  if (present == watching) return;
  if (watching == nullptr) {
    // Without a plain function that frees its memory, an allocator cannot be stood in for.
    if (present->raw_deleter() == nullptr) return;
    watching = new RecordingAllocator(present);
  }
  if (watching->base() == present) c10::SetAllocator(c10::DeviceType::CPU, watching);
}

void unwatch_allocations() {
  if (watching != nullptr && c10::GetAllocator(c10::DeviceType::CPU) == watching) {
    c10::SetAllocator(c10::DeviceType::CPU, watching->base());
  }
}

void note_tensor(uint64_t address, uint64_t size_bytes, MemoryEvent role, const void* parameter) {
  Recorder& r = recorder();
  uint32_t owner = 0;
  {
    const std::lock_guard<std::mutex> lock(r.mutex);
    const auto found = r.parameter_owner.find(parameter);
    if (found != r.parameter_owner.end()) owner = found->second;
  }
  record(role, address, size_bytes, owner);
}

}  // namespace deepseek_prof
