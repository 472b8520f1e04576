#include "context_tree.h"

#include <new>

namespace deepseek_prof {

namespace {

uint32_t crc32(const std::string& bytes) {
  static const auto table = [] {
    std::vector<uint32_t> entries(256);
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0);
      entries[i] = value;
    }
    return entries;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) crc = table[(crc ^ static_cast<uint8_t>(byte)) & 0xFF] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFu;
}

void append_u32(std::string& bytes, uint32_t value) { bytes.append(reinterpret_cast<const char*>(&value), 4); }

}  // namespace

bool ContextsLog::open(const std::string& path) {
  close();
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd_ < 0) return false;
  std::string header("DSPCTX1\0", 8);
  append_u32(header, 1);
  append_u32(header, 0);
  if (::write(fd_, header.data(), header.size()) != static_cast<ssize_t>(header.size())) {
    close();
    return false;
  }
  return true;
}

void ContextsLog::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  unwritten_.clear();
}

void ContextsLog::context(uint32_t id, const Node& node) { entry('C', node.kind, node.phase, id, node.parent, node.text); }

void ContextsLog::signature(uint32_t id, std::string_view text) { entry('S', 0, 0, id, 0, text); }

void ContextsLog::entry(char tag, uint8_t kind, uint8_t phase, uint32_t id, uint32_t parent, std::string_view text) {
  if (fd_ < 0) return;
  std::string bytes;
  bytes.push_back(tag);
  bytes.push_back(static_cast<char>(kind));
  bytes.push_back(static_cast<char>(phase));
  bytes.push_back(0);
  append_u32(bytes, id);
  append_u32(bytes, parent);
  append_u32(bytes, static_cast<uint32_t>(text.size()));
  bytes.append(text);
  append_u32(bytes, crc32(bytes));
  unwritten_.append(bytes);
  flush();
}

void ContextsLog::flush() {
  if (fd_ < 0 || unwritten_.empty()) return;
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  if (::write(fd_, unwritten_.data(), unwritten_.size()) == static_cast<ssize_t>(unwritten_.size())) {
    unwritten_.clear();
    return;
  }
  // On a full disk the file would end inside an entry and every later one would be unreadable: cut it back. The entries
  // wait for the next one, or for the end.
  if (::ftruncate(fd_, before) != 0) close();
}

ContextTree::ContextTree() {
  chunks_[0] = new Node[1u << kChunkBits];
  ids_.reserve(4096);
}

uint32_t ContextTree::child(uint32_t parent, Kind kind, Phase phase, std::string_view text, bool ends_step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return child_locked(parent, kind, phase, text, ends_step);
}

uint32_t ContextTree::child_locked(uint32_t parent, Kind kind, Phase phase, std::string_view text, bool ends_step) {
  uint64_t key = mix(hash_text(text.data(), text.size()), (static_cast<uint64_t>(parent) << 16) | (kind << 8) | phase);
  for (auto found = ids_.find(key); found != ids_.end(); found = ids_.find(++key)) {
    const Node& node = at(found->second);
    if (node.parent == parent && node.kind == kind && node.phase == phase && node.text == text) return found->second;
  }
  if (next_ >= kMaxNodes - 1) {
    if (overflow_ != 0) return overflow_;
    text = "(more contexts)";
    parent = 0;
    kind = kUser;
    phase = kOther;
    overflow_ = next_;
  }
  const uint32_t id = next_++;
  Node*& chunk = chunks_[id >> kChunkBits];
  if (chunk == nullptr) chunk = new Node[1u << kChunkBits];
  Node& node = at(id);
  node.parent = parent;
  node.kind = kind;
  node.phase = phase;
  node.ends_step = ends_step;
  node.text.assign(text);
  node.layer = kind == kLayer ? id : (parent == 0 ? 0 : at(parent).layer);
  ids_.emplace(key, id);
  log_.context(id, node);
  return id;
}

uint32_t ContextTree::backward_twin(uint32_t layer) {
  if (layer == 0) return 0;
  const uint32_t known = at(layer).backward_twin.load(std::memory_order_acquire);
  if (known != 0) return known;
  const std::lock_guard<std::mutex> lock(mutex_);
  return backward_twin_locked(layer);
}

uint32_t ContextTree::backward_twin_locked(uint32_t layer) {
  Node& node = at(layer);
  uint32_t twin = node.backward_twin.load(std::memory_order_relaxed);
  if (twin != 0) return twin;
  if (node.phase == kBackward) {
    twin = layer;  // recomputed inside backward: already there
  } else {
    const uint32_t outer = node.parent == 0 ? 0 : at(node.parent).layer;
    twin = child_locked(outer == 0 ? 0 : backward_twin_locked(outer), kLayer, kBackward, node.text, false);
  }
  node.backward_twin.store(twin, std::memory_order_release);
  return twin;
}

bool ContextTree::is_ancestor(uint32_t ancestor, uint32_t node) const {
  for (uint32_t id = node; id != 0; id = (*this)[id].parent) {
    if (id == ancestor) return true;
  }
  return false;
}

uint32_t ContextTree::signature(const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = signatures_.find(text);
  if (found != signatures_.end()) return found->second;
  if (signatures_.size() >= kMaxSignatures) return 0;
  const uint32_t id = static_cast<uint32_t>(signatures_.size()) + 1;
  signatures_.emplace(text, id);
  log_.signature(id, text);
  return id;
}

bool ContextTree::open_log(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!log_.open(path)) return false;
  for (uint32_t id = 1; id < next_; ++id) log_.context(id, at(id));
  for (const auto& [text, id] : signatures_) log_.signature(id, text);
  return log_.is_open();
}

void ContextTree::flush_log() {
  const std::lock_guard<std::mutex> lock(mutex_);
  log_.flush();
}

void ContextTree::reset_after_fork() {
  new (&mutex_) std::mutex();
  log_.close();
}

}  // namespace deepseek_prof
