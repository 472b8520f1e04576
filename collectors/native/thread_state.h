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

// From a 64-bit key of a path to its context and what a frame needs of it. Keys are well-mixed hashes, 0 is never one.
//
// Slots lie in the order in which the program first met them, and each remembers which followed it last time. Programs
// repeat themselves, so the next slot is nearly always the remembered one, next to this one in memory and prefetched; a
// hash table alone missed the second-level cache at every operator, two thirds of the time of `on_start`.
class ContextCache {
 public:
  struct Slot {
    uint64_t key = 0;
    uint32_t context = 0;
    uint32_t next = 0;
    Phase phase = kOther;
    Kind kind = kOp;
    bool ends_step = false;
  };
  ContextCache() : index_(1024) {
    slots_.reserve(4096);
    slots_.emplace_back();  // the one before the first
  }
  const Slot* find(uint64_t key) {
    Slot& last = slots_[last_];
    if (__builtin_expect(slots_[last.next].key == key, 1)) {
      last_ = last.next;
      return &slots_[last_];
    }
    for (size_t i = key & mask();; i = (i + 1) & mask()) {
      if (index_[i] == 0) return nullptr;
      if (slots_[index_[i]].key != key) continue;
      last_ = last.next = index_[i];
      return &slots_[last_];
    }
  }
  void insert(const Slot& slot) {
    if (slots_.size() >= kMaxSlots) return;  // a program of endless names: its new ones take the slow path
    const auto number = static_cast<uint32_t>(slots_.size());
    slots_.push_back(slot);
    slots_[last_].next = number;
    last_ = number;
    if (slots_.size() * 2 > index_.size()) {
      index_.assign(index_.size() * 2, 0);
      for (uint32_t each = 1; each < number; ++each) enter(each);
    }
    enter(number);
  }

 private:
  static constexpr size_t kMaxSlots = 1u << 18;
  size_t mask() const { return index_.size() - 1; }
  void enter(uint32_t number) {
    size_t i = slots_[number].key & mask();
    while (index_[i] != 0) i = (i + 1) & mask();
    index_[i] = number;
  }
  std::vector<Slot> slots_;
  std::vector<uint32_t> index_;  // open addressing, 0: free
  uint32_t last_ = 0;
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
