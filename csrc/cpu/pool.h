// pool.h: the workers of a context.
//
// count - 1 threads and the caller, who is worker 0. run() sends all of them through one job, in
// which they meet at barriers; between two jobs they spin for a moment, as the next one tends to
// come soon, and then sleep. With one worker there is no thread and nothing waits.
#ifndef L3V_CPU_POOL_H
#define L3V_CPU_POOL_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu.h"

namespace l3v::cpu {

// The fault to report of the ops that ran: of the first op that noted one, the one of the lowest
// index, then of the lowest value, kind and stage, so that the split has no say.
class FaultBox {
 public:
  void note(int32_t kind, int64_t index, int64_t value, int32_t stage);
  // Behind an op's barrier: a fault that is there belongs to op, and later ones count no more.
  void close(int32_t op) {
    if (found_.fault == L3V_FAULT_NONE || closed_) return;
    found_.op = op;
    closed_ = true;
  }
  bool any() const { return found_.fault != L3V_FAULT_NONE; }
  const l3v_device_status& found() const { return found_; }
  void clear() {
    found_ = {};
    closed_ = false;
  }

 private:
  std::mutex lock_;
  l3v_device_status found_{};
  bool closed_ = false;
};

class Pool {
 public:
  struct Job {
    virtual ~Job() = default;
    // Runs on every worker. May not throw.
    virtual void work(Worker& w) = 0;
  };

  // Throws std::system_error or std::bad_alloc when a thread cannot be made.
  explicit Pool(int count);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int count() const { return count_; }

  // Sends the job through all workers; returns when all are done with it. One caller at a time.
  void run(Job& job);

  // Waits for all workers of the job. The last to come runs serial alone before anyone leaves, and
  // the claims start anew.
  template <class Serial>
  void barrier(Serial serial) {
    if (count_ == 1) {
      next_.store(0, std::memory_order_relaxed);
      serial();
      return;
    }
    const uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < count_) {
      wait_while(phase_, phase);
      return;
    }
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    serial();
    phase_.store(phase + 1, std::memory_order_release);
  }

  int64_t claim(int64_t total) {
    if (cancelled()) return -1;
    if (count_ == 1) {  // no locked instruction where nobody else counts
      const int64_t i = next_.load(std::memory_order_relaxed);
      if (i >= total) return -1;
      next_.store(i + 1, std::memory_order_relaxed);
      return i;
    }
    const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
    return i < total ? i : -1;
  }

  // The claims start anew, for one worker that runs ops alone while the others wait at a barrier.
  void restart_claims() { next_.store(0, std::memory_order_relaxed); }

  // Any thread. Claims stop until the request is taken.
  void cancel() { cancel_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancel_.load(std::memory_order_relaxed); }
  bool take_cancel() { return cancel_.exchange(false, std::memory_order_relaxed); }

  FaultBox& faults() { return faults_; }

 private:
  void thread(int index);
  void wait_while(const std::atomic<uint32_t>& word, uint32_t value) const;
  // Waits for a job other than the last one; false: the pool ends.
  bool wait_for_job(uint32_t* last);
  void stop();

  // What workers write often lies on lines of its own.
  static constexpr size_t kLine = 64;
  alignas(kLine) std::atomic<int64_t> next_{0};      // the claim counter
  alignas(kLine) std::atomic<int> arrived_{0};       // at the barrier
  alignas(kLine) std::atomic<uint32_t> phase_{0};    // barriers passed
  alignas(kLine) std::atomic<uint32_t> jobs_{0};     // jobs begun: what idle workers look at
  alignas(kLine) std::atomic<uint32_t> left_{0};     // threads done with the job
  alignas(kLine) std::atomic<bool> cancel_{false};

  alignas(kLine) const int count_;
  int spins_;  // looks at a word before giving the core away
  Job* job_ = nullptr;
  bool ending_ = false;
  FaultBox faults_;

  std::mutex sleep_lock_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
  std::vector<std::thread> threads_;
};

}  // namespace l3v::cpu
#endif
