// What one thread holds while recording: open frames, a cache of context ids, its segment, and the table that leads
// from autograd's sequence numbers back to layers.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "clock.h"
#include "context_tree.h"
#include "segments.h"

namespace deepseek_prof {

struct Frame {
  const void* key;  // the RecordFunction, nn.Module or tag that opened it
  uint64_t start_ns;
  uint64_t child_ns;
  uint32_t context;
  uint32_t layer;  // nearest layer context
  uint32_t signature;
  Phase phase;
  Kind kind;
  bool transparent;  // no record of its own (a wrapper module such as DDP)
  bool ends_step;    // an Optimizer.step scope
};

// Open addressing from a 64-bit key to a context and what a frame needs of it, in one cache line: looking into the tree
// as well would cost a second miss at every operator. Keys are well-mixed hashes, 0 is never one.
class ContextCache {
 public:
  struct Slot {
    uint64_t key = 0;
    uint32_t context = 0;
    Phase phase = kOther;
    Kind kind = kOp;
    bool ends_step = false;
  };
  ContextCache() : slots_(4096) {}
  const Slot* find(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    for (size_t i = key & mask;; i = (i + 1) & mask) {
      if (slots_[i].key == key) return &slots_[i];
      if (slots_[i].key == 0) return nullptr;
    }
  }
  void insert(const Slot& slot) {
    if (used_ * 2 >= slots_.size()) {
      if (slots_.size() >= kMaxSlots) return;  // a program of endless names: its new ones take the slow path
      std::vector<Slot> old(slots_.size() * 2);
      old.swap(slots_);
      used_ = 0;
      for (const Slot& kept : old) {
        if (kept.key != 0) insert(kept);
      }
    }
    size_t i = slot.key & (slots_.size() - 1);
    while (slots_[i].key != 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = slot;
    ++used_;
  }

 private:
  static constexpr size_t kMaxSlots = 1u << 19;
  std::vector<Slot> slots_;
  size_t used_ = 0;
};

// Sequence number -> layer for the forward operators of one thread; read by the threads that run backward.
// One 64-bit word an entry (low half of the number, layer context), so that a racing reader sees a whole entry.
class SequenceTable {
 public:
  static constexpr uint64_t kEntries = 1u << 18;
  SequenceTable() {
    void* memory = ::mmap(nullptr, kEntries * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    entries_ = memory == MAP_FAILED ? nullptr : static_cast<std::atomic<uint64_t>*>(memory);
  }
  void put(uint64_t sequence, uint32_t layer) {
    if (entries_ != nullptr) entries_[sequence & (kEntries - 1)].store(sequence << 32 | layer, std::memory_order_release);
  }
  // One operator may make several nodes: the layer is that of the nearest operator at or before this number.
  uint32_t layer_of(uint64_t sequence) const {
    if (entries_ == nullptr) return 0;
    for (uint64_t back = 0; back <= 16 && back <= sequence; ++back) {
      const uint64_t entry = entries_[(sequence - back) & (kEntries - 1)].load(std::memory_order_acquire);
      if (entry != 0 && entry >> 32 == ((sequence - back) & 0xFFFFFFFFu)) return static_cast<uint32_t>(entry);
    }
    return 0;
  }

 private:
  std::atomic<uint64_t>* entries_;
};

struct ThreadState {
  std::vector<Frame> frames;
  ContextCache cache;
  SegmentStream segments;
  ThreadClock clock;
  SequenceTable* sequences = nullptr;  // made with the first forward operator; outlives the thread
  std::atomic<uint64_t> events{0};
  std::atomic<uint64_t> layers{0};
  uint64_t generation = 0;  // of the recording that `segments` belongs to
  uint32_t index = 0;
  bool alive = true;
};

}  // namespace deepseek_prof
