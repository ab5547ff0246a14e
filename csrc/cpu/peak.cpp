// peak.cpp: l3v_measure_peak on the CPU: the loops of measure.h on all workers at once.
#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "device.h"
#include "measure.h"

namespace l3v::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// All workers run the loop in windows that they begin together. The best window counts: whatever else
// runs on the machine can only make one slower.
class PeakJob final : public Pool::Job {
 public:
  // piece runs some of the work on worker index and returns how much that was.
  template <class Piece>
  PeakJob(Pool* pool, double seconds, Piece piece)
      : pool_(pool), end_(seconds), piece_(std::move(piece)), units_(pool->count()), hertz_(pool->count()) {}

  void work(Worker& w) override {
    constexpr double kWindow = 0.01;
    constexpr int64_t kSteps = 1 << 20;  // about 0.3 ms
    do {
      const double cycle = cycle_chain(kSteps) / kSteps;
      pool_->barrier([&] { window_ = Clock::now(); });
      int64_t units = 0;
      do units += piece_(w.index);
      while (seconds_since(window_) < kWindow);
      units_[w.index] = static_cast<double>(units) / seconds_since(window_);
      hertz_[w.index] = 1 / cycle;
      pool_->barrier([&] { end_window(); });
    } while (!stop_);
  }

  double per_second = 0, per_cycle = 0;

 private:
  void end_window() {
    double rate = 0, cycle = 0;
    for (size_t i = 0; i < units_.size(); i++) {
      rate += units_[i];
      cycle = std::max(cycle, units_[i] / hertz_[i]);
    }
    if (rate > per_second) {
      per_second = rate;
      per_cycle = cycle;
    }
    stop_ = seconds_since(begin_) >= end_ || pool_->cancelled();
  }

  Pool* const pool_;
  const double end_;
  const std::function<int64_t(int)> piece_;
  std::vector<double> units_, hertz_;
  const Clock::time_point begin_ = Clock::now();
  Clock::time_point window_;
  bool stop_ = false;
};

}  // namespace

Status CpuDevice::measure_peak(int32_t kind, int32_t dtype, int64_t bytes, double seconds,
                               double* per_second, double* per_cycle) {
  const auto measure = [&](auto piece) {
    PeakJob job(&pool_, seconds, piece);
    pool_.run(job);
    *per_second = job.per_second;
    *per_cycle = job.per_cycle;
    return outcome();
  };
  if (kind == L3V_PEAK_COMPUTE) {
    const auto loop = dtype == L3V_BF16 ? kernels_.peak_bf16
                      : dtype == L3V_I8 ? kernels_.peak_i8
                                        : kernels_.peak_f32;
    if (loop == nullptr)
      return fail(L3V_UNSUPPORTED, "the %s kernels have no peak loop for element type %d", kernels_.name, dtype);
    return measure([loop](int) { return loop(2000); });
  }
  // Each worker goes through a piece of its own, in strides that the read loops take.
  constexpr int64_t kStride = 512;
  const int64_t each = std::max((bytes / pool_.count() + kStride - 1) / kStride, int64_t{1}) * kStride;
  char* data = nullptr;
  if (Status s = memory_.alloc(each * pool_.count(), "memory to read", &data); !s.ok()) return s;
  std::fill(data, data + each * pool_.count(), 1);  // pages of zeros may be one page
  std::vector<int64_t> at(pool_.count() * 8);       // a line each
  const auto read = kernels_.peak_read;
  const Status s = measure([&, read](int worker) {
    constexpr int64_t kPiece = int64_t{1} << 20;
    int64_t& place = at[worker * 8];
    const int64_t n = std::min(kPiece, each - place);
    uint64_t found = read(data + worker * each + place, n);
    asm volatile("" : "+r"(found));
    place = place + n == each ? 0 : place + n;
    return n;
  });
  memory_.free(data, each * pool_.count());
  return s;
}

}  // namespace l3v::cpu
