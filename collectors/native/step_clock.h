// Where steps end, and how much of the next step to record.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "recorder.h"

namespace deepseek_prof {

struct RecordMode {
  bool operators;
  bool layers;
};

// A step ends when the last optimizer of a cycle has stepped (two optimizers that alternate, as in a GAN, make one
// step), or without an optimizer when the last root module of a cycle has returned. The cycle's last member is known
// when its first member comes again; the end of that first step is then set in retrospect.
class StepClock {
 public:
  void reset() { *this = StepClock(optimizer_); }
  StepClock() = default;

  bool ends_with_root_calls() const { return !optimizer_; }
  void optimizer_made() {
    if (optimizer_) return;
    optimizer_ = true;
    cycle_.clear();
    closer_ = 0;
  }
  void set_stepped_optimizer(uint64_t key) {
    optimizer_made();
    stepped_ = key;
  }
  uint64_t stepped_optimizer() const { return stepped_; }
  uint64_t take_stepped_optimizer() {
    const uint64_t key = stepped_;
    stepped_ = 0;
    return key;
  }
  // The first layer, and after it the end of each step, begins the next step.
  void activity(uint64_t start_ns) {
    if (step_start_ns_ == 0) step_start_ns_ = start_ns;
  }
  // What our side has cost besides records, in the step that runs.
  void spent(uint64_t ns) { aside_ns_ += static_cast<double>(ns); }
  uint64_t finished() const { return finished_; }
  uint64_t full_steps() const { return full_steps_; }
  // The step that runs now, -1 before the first. The first step's end is known late: until then its cycle is taken for
  // complete.
  int64_t running() const {
    if (step_start_ns_ == 0) return -1;
    return static_cast<int64_t>(finished_) + (closer_ == 0 && !cycle_.empty() ? 1 : 0);
  }

  // At the end of a program of a single step no second one has shown the cycle.
  template <typename Emit>
  void flush(Emit emit) {
    if (closer_ == 0 && !cycle_.empty()) emit_step(last_end_ns_, emit);
    cycle_.clear();
  }

  RecordMode initial_mode(const Settings& settings) const { return mode_for(0, settings, true); }

  // `emit(start_ns, dur_ns)` takes each step that is now known to be finished.
  template <typename Emit>
  std::optional<RecordMode> tick(uint64_t key, uint64_t end_ns, uint64_t events, uint64_t layers, const Settings& settings,
                                 Emit emit) {
    if (step_start_ns_ == 0) step_start_ns_ = end_ns;
    if (closer_ == 0) {
      if (cycle_.empty() || std::find(cycle_.begin(), cycle_.end(), key) == cycle_.end()) {
        cycle_.push_back(key);
        last_end_ns_ = end_ns;
        return std::nullopt;
      }
      closer_ = cycle_.back();
      emit_step(last_end_ns_, emit);
      events_before_ = layers_before_ = 0;
      if (closer_ != key) return std::nullopt;
    } else if (key != closer_) {
      // The closer may have died (a new optimizer, another model): a member that comes twice since then takes over.
      if (std::find(since_closer_.begin(), since_closer_.end(), key) == since_closer_.end()) {
        since_closer_.push_back(key);
        return std::nullopt;
      }
      closer_ = key;
    }
    since_closer_.clear();
    emit_step(end_ns, emit);
    return next_mode(events, layers, settings);
  }

 private:
  // What a layer costs that is not recorded: its wrapper is called all the same. Measured in turns on the tiny
  // transformer of benchmarks/: 0.44 us of 0.72.
  static constexpr double kPassedLayer = 0.6;
  static constexpr uint64_t kMostLightSteps = 1000;
  // The first readings of losses load modules and make files, which no later step pays for.
  static constexpr uint64_t kWarmUpSteps = 3;

  explicit StepClock(bool optimizer) : optimizer_(optimizer) {}

  template <typename Emit>
  void emit_step(uint64_t end_ns, Emit emit) {
    const uint64_t start_ns = std::min(step_start_ns_, end_ns);
    step_dur_ns_ = end_ns - start_ns;
    emit(start_ns, step_dur_ns_);
    ++finished_;
    step_start_ns_ = end_ns;
  }

  RecordMode mode_for(uint64_t step, const Settings& settings, bool full) const {
    const bool inside = (settings.first_step < 0 || static_cast<int64_t>(step) >= settings.first_step) &&
                        (settings.last_step < 0 || static_cast<int64_t>(step) <= settings.last_step);
    return {inside && full, inside && (full || light_layers_)};
  }

  // With a budget: each step earns what the budget allows and pays what it has cost. A step in full comes when all is
  // paid, or after `kMostLightSteps`; what is earned beyond that is not kept.
  RecordMode next_mode(uint64_t events, uint64_t layers, const Settings& settings) {
    const double event_cost = static_cast<double>(events - events_before_) * settings.operator_cost_ns;
    const double layer_cost = static_cast<double>(layers - layers_before_) * settings.layer_cost_ns;
    const double spent = std::exchange(aside_ns_, 0.0);
    const double aside = finished_ > kWarmUpSteps ? spent : 0.0;
    events_before_ = events;
    layers_before_ = layers;
    (last_was_full_ ? full_dur_ : light_dur_).add(static_cast<double>(step_dur_ns_));
    if (last_was_full_) {
      ++full_steps_;
      light_steps_ = 0;
      if (settings.overhead_budget < 0 || event_cost == 0) return mode_for(finished_, settings, true);
      allowed_ = settings.overhead_budget * std::max(static_cast<double>(step_dur_ns_) - event_cost - layer_cost - aside, 1.0);
      light_layers_ = layer_cost <= 0.5 * allowed_;
      light_ = light_layers_ ? layer_cost : kPassedLayer * layer_cost;
      double full = event_cost + layer_cost;
      // Once both kinds of step were seen, their difference is the true cost; bounded, since steps differ by themselves.
      if (full_dur_.known() && light_dur_.known()) {
        full = std::clamp(full_dur_.mean() - light_dur_.mean() + light_, full, 4 * full);
      }
      debt_ += full;
    } else {
      ++light_steps_;
      debt_ += light_;
    }
    debt_ = std::max(debt_ + aside - allowed_, 0.0);
    last_was_full_ = debt_ == 0 || light_steps_ >= kMostLightSteps;
    if (last_was_full_) debt_ = 0;
    return mode_for(finished_, settings, last_was_full_);
  }

  // A moving mean over some ten steps, in which a single slow step counts little.
  class Mean {
   public:
    void add(double value) {
      ++count_;
      value = count_ > 3 ? std::min(value, 2 * mean_) : value;
      mean_ += (value - mean_) / std::min(count_, 10.0);
    }
    bool known() const { return count_ >= 5; }
    double mean() const { return mean_; }

   private:
    double count_ = 0, mean_ = 0;
  };

  Mean full_dur_, light_dur_;
  double aside_ns_ = 0, allowed_ = 0, light_ = 0, debt_ = 0;
  bool optimizer_ = false;
  bool last_was_full_ = true;
  bool light_layers_ = true;
  uint64_t light_steps_ = 0;
  uint64_t stepped_ = 0;
  uint64_t closer_ = 0;
  uint64_t last_end_ns_ = 0;
  uint64_t step_start_ns_ = 0;
  uint64_t step_dur_ns_ = 0;
  uint64_t finished_ = 0;
  uint64_t full_steps_ = 0;
  uint64_t events_before_ = 0;
  uint64_t layers_before_ = 0;
  std::vector<uint64_t> cycle_;
  std::vector<uint64_t> since_closer_;
};

}  // namespace deepseek_prof
