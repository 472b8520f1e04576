// Allocations of CPU memory: each one, and each release, as a record of its own.
#pragma once

#include <cstdint>

namespace deepseek_prof {

// What a record says of its address. The values of MemoryEvent in deepseek_prof/recording/live_format.py.
enum MemoryEvent : uint32_t { kAllocated = 0, kFreed = 1, kParameter = 2, kBuffer = 3, kGradient = 4, kOptimizerState = 5 };

// Puts our allocator in front of the one that PyTorch takes CPU memory from, and takes it away again.
void watch_allocations();
void unwatch_allocations();

// Says what the memory at `address` is; `parameter` is the TensorImpl that it belongs to, whose layer owns it.
void note_tensor(uint64_t address, uint64_t size_bytes, MemoryEvent role, const void* parameter);

}  // namespace deepseek_prof
