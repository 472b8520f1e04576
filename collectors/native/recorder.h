// The recorder of one process: per-thread frame stacks, the operator callbacks, layers and steps.
// Plain C++ interface without Python or torch types; module.cpp binds it to Python.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "context_tree.h"

namespace deepseek_prof {

struct Settings {
  bool operators = true;        // record every operator (false: layers, phases and user scopes)
  bool signatures = false;      // shapes and dtypes of each operator's tensors
  bool allocations = false;     // every allocation and release of CPU memory
  int64_t first_step = -1;      // record operators and layers from this step ...
  int64_t last_step = -1;       // ... to this one, both included; -1: no limit
  double overhead_budget = -1;  // fraction of the bare step time; < 0: none
  uint32_t max_live_segments = 1024;
  double operator_cost_ns = 0;  // of a record, for the budget: what calibrate() returned, in place of a guess
  double layer_cost_ns = 0;
};

struct Statistics {
  uint64_t events = 0, layers = 0, dropped = 0, dropped_allocations = 0, steps = 0, full_steps = 0;
  uint32_t contexts = 0, threads = 0;
};

ContextTree& tree();

// `directory` is made, with `process_json` in it, when the first span is written (lazily, so that a fork that never
// runs an operator leaves nothing behind).
void start(const std::string& directory, const std::string& process_json, const Settings& settings);
void stop();
// After a fork, in the child: recording goes on in a directory of its own.
void reopen(const std::string& directory, const std::string& process_json);
Statistics statistics();

// Nanoseconds that one recorded operator adds, callback and dispatcher included: median of several loops of a small
// operator with and without recording, times `in_situ_factor`.
double calibrate(double in_situ_factor);
// Processes that load data for another one: what they do outside any layer is phase `data`.
void set_default_phase(Phase phase);

// Layers. All under the GIL. `module` identifies the nn.Module; `push_known_layer` returns false when this module was
// not yet seen below the current context, and the caller then resolves its name and calls `push_new_layer`.
bool layers_enabled();
bool push_known_layer(const void* module);
// The innermost open layer's module on this thread, or nullptr.
const void* enclosing_module();
// When the innermost frame of this thread began, if it is the call of a root; otherwise 0.
uint64_t root_call_start_ns();
// The innermost frame begins now: what was done since it was opened is ours and no time of the layer.
void restart_frame();
// The name of that layer, empty for a root (whose name is no part of its layers' names).
std::string enclosing_layer_name();
enum class LayerName { kBelowParent, kRoot, kTransparent };
void push_new_layer(const void* module, LayerName how, const std::string& text, const std::vector<const void*>& parameters);
void pop_layer();
// The module was freed: its address may be another module's soon.
void forget_module(const void* module);

// Where the calling thread is in the program: the running step (-1: before the first), the phase, and the innermost
// layer (empty: none).
struct Position {
  int64_t step;
  Phase phase;
  std::string layer;
};
Position current_position();

// The time as the calling thread's records have it: nanoseconds, CLOCK_MONOTONIC but for the error of its own clock.
uint64_t record_clock_ns();

// The OS thread id and pthread_self() of every thread that has recorded: CUPTI names threads by the latter.
std::vector<std::pair<uint64_t, uint64_t>> thread_ids();

// A phase that Python opens and closes on one thread (the backward pass).
void push_phase(const char* text, Phase phase);
void pop_phase();

// The optimizer identified by `key` has stepped inside the open Optimizer.step scope of this thread.
void optimizer_stepped(uint64_t key);
// From now on steps end with the optimizer, no longer with each call of the root module.
void optimizer_made();
// Time that was taken from the program besides records, for the budget.
void spent(uint64_t ns);

}  // namespace deepseek_prof
