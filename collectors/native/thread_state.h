// What one thread holds while recording: open frames, a cache of context ids, its segment, and the table that leads
// from autograd's sequence numbers back to layers.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_set>
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

// From a place (the parent's context and what else decides, see operators.cpp) and an operator's name to the context and
// what a frame needs of it.
//
// Programs repeat themselves: what was found is written down, and is what the cache expects when the program comes by
// again. The expected slot is recognised by its text, a third of the cost of hashing it, and is prefetched; a hash table
// alone missed the second-level cache at every operator, two thirds of the time of `on_start`.
class ContextCache {
 public:
  struct Slot {
    uint64_t place = 0;
    const char* name = "";  // one copy for all slots of this name: few enough to stay in the first-level cache
    uint32_t context = 0;
    uint32_t seen = 0;      // where in the history the expectation last failed and this was found
    Phase phase = kOther;
    Kind kind = kOp;
    bool ends_step = false;
    bool is(uint64_t other_place, const char* other_name) const {
      return place == other_place && std::strcmp(name, other_name) == 0;
    }
  };
  ContextCache() : index_(1024), history_(kHistory) {
    slots_.reserve(4096);
    slots_.emplace_back().place = ~0ull;  // what an empty history names; no operator matches it
  }
  const Slot* find(uint64_t place, const char* name) {
    const uint32_t expected = history_[expected_ % kHistory];
    if (__builtin_expect(slots_[expected].is(place, name), 1)) return found(expected);
    for (size_t i = hash_of(place, name) & mask();; i = (i + 1) & mask()) {
      const uint32_t number = index_[i];
      if (number == 0) return nullptr;
      if (!slots_[number].is(place, name)) continue;
      expected_ = slots_[number].seen;
      slots_[number].seen = now_;
      return found(number);
    }
  }
  void insert(uint64_t place, const char* name, Slot slot) {
    if (slots_.size() >= kMaxSlots) return;  // a program of endless names: its new ones take the slow path
    slot.place = place;
    slot.name = names_.emplace(name).first->c_str();
    slot.seen = expected_ = now_;
    const auto number = static_cast<uint32_t>(slots_.size());
    slots_.push_back(slot);
    if (slots_.size() * 2 > index_.size()) {
      index_.assign(index_.size() * 2, 0);
      for (uint32_t each = 1; each < number; ++each) enter(each);
    }
    enter(number);
    found(number);
  }

 private:
  static constexpr size_t kMaxSlots = 1u << 18;
  static constexpr uint32_t kHistory = 1u << 16;  // operators: a step of a large model
  static uint64_t hash_of(uint64_t place, const char* name) { return mix(hash_text(name, std::strlen(name)), place); }
  size_t mask() const { return index_.size() - 1; }
  void enter(uint32_t number) {
    size_t i = hash_of(slots_[number].place, slots_[number].name) & mask();
    while (index_[i] != 0) i = (i + 1) & mask();
    index_[i] = number;
  }
  const Slot* found(uint32_t number) {
    history_[now_++ % kHistory] = number;
    __builtin_prefetch(&slots_[history_[++expected_ % kHistory]]);
    return &slots_[number];
  }
  std::vector<Slot> slots_;
  std::vector<uint32_t> index_;    // open addressing, 0: free
  std::vector<uint32_t> history_;  // a ring of slots in the order in which they were found
  std::unordered_set<std::string> names_;
  uint32_t now_ = 0;       // where the history goes on
  uint32_t expected_ = 0;  // where in it the program is, as far as it repeats itself
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
  std::atomic<uint64_t> tid{0};     // of the operating system; 0 before the first record
  std::atomic<uint64_t> handle{0};  // pthread_self()
  uint64_t generation = 0;  // of the recording that `segments` belongs to
  uint32_t index = 0;
  bool alive = true;
  SegmentStream allocations;  // written where allocations are recorded, see memory.cpp
};

}  // namespace deepseek_prof
