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
  uint32_t closed;
  uint8_t reserved[12];
};
static_assert(sizeof(SegmentHeader) == 64);

class SegmentStream {
 public:
  // max_live: how many segments of this stream may wait for conversion. Past that spans are dropped and counted, so
  // that the disk stays bounded when the converting parent is gone.
  void configure(std::string prefix, uint32_t pid, uint64_t tid, size_t size_bytes, uint32_t max_live) {
    prefix_ = std::move(prefix);
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

  void close() {
    if (base_ == nullptr) return;
    reinterpret_cast<SegmentHeader*>(base_)->closed = 1;
    ::munmap(base_, size_);
    base_ = nullptr;
    next_ = end_ = nullptr;
  }

  // In a forked child the mapping is the parent's: let go of it without a trace in the file.
  void abandon() {
    if (base_ != nullptr) ::munmap(base_, size_);
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
    close();
    if (now_ns < retry_ns_) return false;
    retry_ns_ = now_ns + 100'000'000;  // after a failure: try again in 0.1 s
    if (index_ >= max_live_ && ::access(path(index_ - max_live_).c_str(), F_OK) == 0) return false;
    const std::string name = path(index_);
    const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    // Allocated, not merely sized: on a full disk a hole would turn a write into SIGBUS.
    void* base = MAP_FAILED;
    if (::posix_fallocate(fd, 0, static_cast<off_t>(size_)) == 0) {
      base = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    if (base == MAP_FAILED) {
      ::unlink(name.c_str());
      return false;
    }
    base_ = static_cast<char*>(base);
    auto* header = reinterpret_cast<SegmentHeader*>(base_);
    header->version = 1;
    header->header_size = sizeof(SegmentHeader);
    header->record_size = sizeof(Record);
    header->pid = pid_;
    header->tid = tid_;
    header->created_ns = now_ns;
    header->dropped_spans = dropped_;
    std::atomic_thread_fence(std::memory_order_release);
    std::memcpy(header->magic, "DSPSEG1\0", 8);
    next_ = reinterpret_cast<Record*>(base_ + sizeof(SegmentHeader));
    end_ = next_ + (size_ - sizeof(SegmentHeader)) / sizeof(Record);
    ++index_;
    retry_ns_ = 0;
    return true;
  }

  std::string path(uint32_t index) const {
    char suffix[24];
    std::snprintf(suffix, sizeof suffix, "-%05u.seg", index);
    return prefix_ + suffix;
  }

  Record* next_ = nullptr;
  Record* end_ = nullptr;
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
