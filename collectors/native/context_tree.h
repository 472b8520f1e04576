// The calling context tree of one process, and the log that makes it durable.
//
// A node is one path (layer -> operator -> ...). Nodes are created under a mutex on the slow path and are
// immutable afterwards; threads reach them through their own caches, so that recording takes no lock.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace deepseek_prof {

// The values of model.Kind and model.Phase.
enum Kind : uint8_t { kOp = 0, kLayer = 1, kStep = 2, kPhase = 3, kAutograd = 4, kUser = 5, kCollective = 11, kData = 12 };
enum Phase : uint8_t { kDataPhase = 0, kForward = 1, kBackward = 2, kOptimizer = 3, kOther = 4 };

inline uint64_t mix(uint64_t a, uint64_t b) {
  const __uint128_t product = static_cast<__uint128_t>(a ^ 0x9E3779B97F4A7C15ull) * (b ^ 0xE7037ED1A0B428DBull);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_text(const char* text, size_t size) {
  uint64_t hash = size * 0x9E3779B97F4A7C15ull + 1;
  while (size >= 8) {
    uint64_t word;
    std::memcpy(&word, text, 8);
    hash = mix(hash, word);
    text += 8;
    size -= 8;
  }
  if (size > 0) {
    uint64_t word = 0;
    std::memcpy(&word, text, size);
    hash = mix(hash, word);
  }
  return hash;
}

struct Node {
  uint32_t parent = 0;
  uint32_t layer = 0;  // nearest enclosing layer node, itself included; 0 = none
  Kind kind = kOp;
  Phase phase = kOther;
  bool ends_step = false;  // an Optimizer.step scope
  std::atomic<uint32_t> backward_twin{0};
  std::string text;
};

// contexts.log: see docs/architecture.md. Written with write(2), so that a killed process loses no entry.
class ContextsLog {
 public:
  bool open(const std::string& path);
  void close();
  void context(uint32_t id, const Node& node);
  void signature(uint32_t id, std::string_view text);
  // Writes what a full disk has kept out so far.
  void flush();
  bool is_open() const { return fd_ >= 0; }

 private:
  void entry(char tag, uint8_t kind, uint8_t phase, uint32_t id, uint32_t parent, std::string_view text);
  int fd_ = -1;
  std::string unwritten_;
};

class ContextTree {
 public:
  // Past this many nodes a new path is counted to one overflow node below its parent's root, so that a program
  // that names its scopes by counters cannot grow the tree without bound.
  static constexpr uint32_t kMaxNodes = 1u << 17;
  static constexpr uint32_t kMaxSignatures = 32767;

  ContextTree();
  const Node& operator[](uint32_t id) const { return chunks_[id >> kChunkBits][id & kChunkMask]; }
  uint32_t child(uint32_t parent, Kind kind, Phase phase, std::string_view text, bool ends_step = false);
  // The backward node of a forward layer: the same layer path under phase backward.
  uint32_t backward_twin(uint32_t layer);
  bool is_ancestor(uint32_t ancestor, uint32_t node) const;
  uint32_t signature(const std::string& text);
  uint32_t size() const { return next_; }
  // Starts a fresh log in `path` with all that is known so far.
  bool open_log(const std::string& path);
  void flush_log();
  // In a forked child: the mutex may be held by a thread that does not exist here.
  void reset_after_fork();

 private:
  static constexpr uint32_t kChunkBits = 12;
  static constexpr uint32_t kChunkMask = (1u << kChunkBits) - 1;
  Node& at(uint32_t id) { return chunks_[id >> kChunkBits][id & kChunkMask]; }
  uint32_t child_locked(uint32_t parent, Kind kind, Phase phase, std::string_view text, bool ends_step);
  uint32_t backward_twin_locked(uint32_t layer);

  std::mutex mutex_;
  Node* chunks_[(kMaxNodes >> kChunkBits) + 1] = {};
  uint32_t next_ = 1;
  uint32_t overflow_ = 0;
  std::unordered_map<uint64_t, uint32_t> ids_;
  std::unordered_map<std::string, uint32_t> signatures_;
  ContextsLog log_;
};

}  // namespace deepseek_prof
