// Segment files: fixed-size span records in a mapped file, so that a killed process loses no finished span.
// The format is described in docs/architecture.md and read by deepseek_prof/recording/segments.py.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>

namespace deepseek_prof {

struct Record {
  uint64_t start_ns;
  uint32_t dur_ns;
  uint32_t self_ns;
  uint32_t context;
  uint32_t tail;
};
static_assert(sizeof(Record) == 24);

struct SegmentHeader {
  char magic[8];
  uint32_t version, header_size, record_size, pid;
  uint64_t tid, created_ns, dropped_spans;
  uint32_t state;  // SegmentState
  uint8_t reserved[12];
};
static_assert(sizeof(SegmentHeader) == 64);

enum SegmentState : uint32_t {
  kWriting = 0,
  kClosed = 1,      // for good: the reader deletes the file once it has converted it
  kLent = 2,        // still mapped by the writer, who takes it back once it is converted
  kConverted = 3,   // by the reader: free to be written again, under a new name
};

class SegmentStream {
 public:
  // max_live: how many segments of this stream may wait for conversion. Past that spans are dropped and counted, so
  // that the disk stays bounded when the converting parent is gone.
  // reuse: whether converted segments are taken back. A page of a mapped file costs some 3 µs when it is first touched, and
  // another when it is let go; one that stays mapped costs nothing.
  void configure(std::string prefix, uint32_t pid, uint64_t tid, size_t size_bytes, uint32_t max_live, bool reuse) {
    prefix_ = std::move(prefix);
    reuse_ = reuse;
    pid_ = pid;
    tid_ = tid;
    size_ = size_bytes;
    max_live_ = max_live;
  }

  inline void append(uint64_t start_ns, uint64_t dur_ns, uint64_t self_ns, uint32_t context, uint32_t signature, uint64_t now_ns) {
    const bool wide = dur_ns >> 32 != 0;
    if (__builtin_expect(next_ + (wide ? 2 : 1) > end_, 0) && !advance(now_ns)) {
      ++dropped_;
      return;
    }
    if (__builtin_expect(wide, 0)) {
      put(next_ + 1, 1, static_cast<uint32_t>(dur_ns >> 32), static_cast<uint32_t>(self_ns >> 32), context, 0);
    }
    put(next_, start_ns, static_cast<uint32_t>(dur_ns), static_cast<uint32_t>(self_ns), context,
        (wide ? 0x80000000u : 0u) | signature << 16);
    next_ += wide ? 2 : 1;
  }

  // As `append`, with both numbers in full: a record and its continuation.
  void append_wide(uint64_t start_ns, uint64_t first, uint64_t second, uint32_t context, uint32_t signature, uint64_t now_ns) {
    if (__builtin_expect(next_ + 2 > end_, 0) && !advance(now_ns)) {
      ++dropped_;
      return;
    }
    put(next_ + 1, 1, static_cast<uint32_t>(first >> 32), static_cast<uint32_t>(second >> 32), context, 0);
    put(next_, start_ns, static_cast<uint32_t>(first), static_cast<uint32_t>(second), context, 0x80000000u | signature << 16);
    next_ += 2;
  }

  // Ends the stream: a later record begins a new segment.
  void close() {
    if (base_ != nullptr) retire(kClosed);
    for (const Lent& lent : lent_) {
      auto& state = reinterpret_cast<SegmentHeader*>(lent.base)->state;
      uint32_t expected = kLent;
      // Converted ones are nobody's any more; of the others the reader disposes, as of any closed one.
      const bool ours = __atomic_compare_exchange_n(&state, &expected, static_cast<uint32_t>(kClosed), false, __ATOMIC_ACQ_REL,
                                                    __ATOMIC_ACQUIRE);
      if (!ours) ::unlink(path(lent.index).c_str());
      ::munmap(lent.base, size_);
    }
    forget_lent();
  }

  // In a forked child the mappings are the parent's: let go of them without a trace in the files.
  void abandon() {
    if (base_ != nullptr) ::munmap(base_, size_);
    for (const Lent& lent : lent_) ::munmap(lent.base, size_);
    forget_lent();
    base_ = nullptr;
    next_ = end_ = nullptr;
    index_ = 0;
    dropped_ = 0;
    retry_ns_ = 0;
  }

  uint64_t dropped() const { return dropped_; }

  // Lets a benchmark loop write into memory of its own; `restore` puts the stream back.
  struct Position {
    Record *next, *end;
  };
  Position redirect(Record* buffer, size_t records) {
    const Position position{next_, end_};
    next_ = buffer;
    end_ = buffer + records;
    return position;
  }
  void restore(Position position) {
    next_ = position.next;
    end_ = position.end;
  }

 private:
  static inline void put(Record* record, uint64_t start_ns, uint32_t dur, uint32_t self, uint32_t context, uint32_t tail) {
    uint64_t x = start_ns ^ (dur | static_cast<uint64_t>(self) << 32) ^ (context | static_cast<uint64_t>(tail) << 32);
    x ^= x >> 32;
    x ^= x >> 16;
    record->dur_ns = dur;
    record->self_ns = self;
    record->context = context;
    record->tail = tail | ((x ^ 0xD5A1u) & 0xFFFFu);
    // Committed by its start time, written last: a reader never sees half a record.
    __atomic_store_n(&record->start_ns, start_ns, __ATOMIC_RELEASE);
  }

  bool advance(uint64_t now_ns) {
    if (base_ != nullptr) retire(reuse_ && lent_count().load(std::memory_order_relaxed) < kMaxLent ? kLent : kClosed);
    if (now_ns < retry_ns_) return false;
    retry_ns_ = now_ns + 100'000'000;  // after a failure: try again in 0.1 s
    if (index_ >= max_live_ && ::access(path(index_ - max_live_).c_str(), F_OK) == 0) return false;
    char* base = take_back();
    if (base == nullptr) base = create();
    if (base == nullptr) return false;
    auto* header = reinterpret_cast<SegmentHeader*>(base);
    header->version = 1;
    header->header_size = sizeof(SegmentHeader);
    header->record_size = sizeof(Record);
    header->pid = pid_;
    header->tid = tid_;
    header->created_ns = now_ns;
    header->dropped_spans = dropped_;
    std::atomic_thread_fence(std::memory_order_release);
    std::memcpy(header->magic, "DSPSEG1\0", 8);
    __atomic_store_n(&header->state, static_cast<uint32_t>(kWriting), __ATOMIC_RELEASE);
    base_ = base;
    next_ = reinterpret_cast<Record*>(base_ + sizeof(SegmentHeader));
    end_ = next_ + (size_ - sizeof(SegmentHeader)) / sizeof(Record);
    ++index_;
    retry_ns_ = 0;
    return true;
  }

  // The file's last state from here: what the reader does with it follows from it.
  void retire(SegmentState state) {
    __atomic_store_n(&reinterpret_cast<SegmentHeader*>(base_)->state, static_cast<uint32_t>(state), __ATOMIC_RELEASE);
    if (state == kLent) {
      lent_.push_back({base_, index_ - 1});
      lent_count().fetch_add(1, std::memory_order_relaxed);
    } else {
      ::munmap(base_, size_);
    }
    base_ = nullptr;
    next_ = end_ = nullptr;
  }

  // The oldest segment lent to the reader, if it is converted: emptied, and under the next name.
  char* take_back() {
    if (lent_.empty()) return nullptr;
    const Lent lent = lent_.front();
    const auto* header = reinterpret_cast<const SegmentHeader*>(lent.base);
    if (__atomic_load_n(&header->state, __ATOMIC_ACQUIRE) != kConverted) return nullptr;
    lent_.pop_front();
    lent_count().fetch_sub(1, std::memory_order_relaxed);
    if (::rename(path(lent.index).c_str(), path(index_).c_str()) != 0) {
      ::munmap(lent.base, size_);
      return nullptr;
    }
    // Still in state kConverted: a process that is killed in here leaves nothing that a reader would look at.
    std::memset(lent.base + sizeof(SegmentHeader), 0, size_ - sizeof(SegmentHeader));
    return lent.base;
  }

  char* create() {
    const std::string name = path(index_);
    const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return nullptr;
    // Allocated, not merely sized: on a full disk a hole would turn a write into SIGBUS.
    void* base = MAP_FAILED;
    if (::posix_fallocate(fd, 0, static_cast<off_t>(size_)) == 0) {
      base = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    if (base != MAP_FAILED) return static_cast<char*>(base);
    ::unlink(name.c_str());
    return nullptr;
  }

  void forget_lent() {
    lent_count().fetch_sub(static_cast<uint32_t>(lent_.size()), std::memory_order_relaxed);
    lent_.clear();
  }

  // Over all threads of the process, so that many threads do not keep many times the memory.
  static std::atomic<uint32_t>& lent_count() {
    static std::atomic<uint32_t> count{0};
    return count;
  }

  std::string path(uint32_t index) const {
    char suffix[24];
    std::snprintf(suffix, sizeof suffix, "-%05u.seg", index);
    return prefix_ + suffix;
  }

  struct Lent {
    char* base;
    uint32_t index;
  };
  static constexpr uint32_t kMaxLent = 96;  // 24 MiB of segments of 256 KiB

  Record* next_ = nullptr;
  Record* end_ = nullptr;
  std::deque<Lent> lent_;
  bool reuse_ = false;
  char* base_ = nullptr;
  size_t size_ = 0;
  uint32_t index_ = 0;
  uint32_t max_live_ = 0;
  uint32_t pid_ = 0;
  uint64_t tid_ = 0;
  uint64_t dropped_ = 0;
  uint64_t retry_ns_ = 0;
  std::string prefix_;
};

}  // namespace deepseek_prof
