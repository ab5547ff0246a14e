#include "pool.h"

#include <sched.h>
#include <signal.h>

#include <chrono>

namespace l3v::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// How long an idle worker looks for the next job before it sleeps; waking costs about as much.
constexpr auto kIdle = std::chrono::microseconds(80);

// A barrier is reached within a few microseconds as a rule. Behind that many looks (about ten
// microseconds) the worker that is missing may want this very core. Yielding on an idle core costs
// less than a microsecond; looking on when cores are shared costs the other its time slice.
constexpr int kSpins = 200;
constexpr int kSpinsCrowded = 20;  // more workers than cores: it does want it

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Blocks every signal that may be put off while the pool's threads are made: they inherit it, and
// the process's handlers (the Go runtime's) never run on them. A fault of the thread itself cannot
// be put off and keeps its meaning.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&all, s);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

void FaultBox::note(int32_t kind, int64_t index, int64_t value, int32_t stage) {
  std::lock_guard<std::mutex> hold(lock_);
  if (closed_) return;
  l3v_device_status& f = found_;
  if (f.fault != L3V_FAULT_NONE) {
    if (index != f.index ? index > f.index
        : value != f.value ? value > f.value
        : kind != f.fault  ? kind > f.fault
                           : stage >= f.stage)
      return;
  }
  f.fault = kind;
  f.index = index;
  f.value = value;
  f.stage = stage;
}

Pool::Pool(int count)
    : count_(count), spins_(count <= processor().cores ? kSpins : kSpinsCrowded) {
  threads_.reserve(static_cast<size_t>(count - 1));
  const SignalsBlocked blocked;
  try {
    for (int i = 1; i < count; i++) threads_.emplace_back([this, i] { thread(i); });
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  {
    std::lock_guard<std::mutex> hold(sleep_lock_);
    ending_ = true;
    jobs_.fetch_add(1, std::memory_order_seq_cst);
  }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Pool::run(Job& job) {
  next_.store(0, std::memory_order_relaxed);
  if (count_ > 1) {
    job_ = &job;
    left_.store(0, std::memory_order_relaxed);
    // A thread counts itself as sleeping and then looks at jobs_ again; here jobs_ moves first and
    // then the sleepers are looked at. One of the two sees the other (both are seq_cst).
    jobs_.fetch_add(1, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard<std::mutex> hold(sleep_lock_);
      wake_.notify_all();
    }
  }
  Worker w;
  w.count = count_;
  w.pool = this;
  job.work(w);
  // The job may lie on this stack: nobody looks at it any more once all have left.
  const uint32_t threads = static_cast<uint32_t>(count_ - 1);
  for (uint32_t left; (left = left_.load(std::memory_order_acquire)) < threads;) wait_while(left_, left);
}

void Pool::thread(int index) {
  Worker w;
  w.index = index;
  w.count = count_;
  w.pool = this;
  for (uint32_t last = 0; wait_for_job(&last);) {
    job_->work(w);
    left_.fetch_add(1, std::memory_order_release);
  }
}

void Pool::wait_while(const std::atomic<uint32_t>& word, uint32_t value) const {
  for (int looks = 0; word.load(std::memory_order_acquire) == value;) {
    if (looks < spins_) {
      looks++;
      relax();
    } else {
      sched_yield();
    }
  }
}

bool Pool::wait_for_job(uint32_t* last) {
  const auto sleep_at = Clock::now() + kIdle;
  for (int i = 0; jobs_.load(std::memory_order_acquire) == *last; i++) {
    if (i < spins_)
      relax();
    else
      sched_yield();
    if (i % 64 != 63 || Clock::now() < sleep_at) continue;
    std::unique_lock<std::mutex> hold(sleep_lock_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(hold, [&] { return jobs_.load(std::memory_order_seq_cst) != *last; });
    sleeping_.fetch_sub(1, std::memory_order_relaxed);
  }
  *last = jobs_.load(std::memory_order_acquire);
  return !ending_;
}

int64_t Worker::claim(int64_t total) { return pool->claim(total); }

void Worker::barrier() {
  if (count == 1)
    pool->restart_claims();  // alone, whatever the pool's size
  else
    pool->barrier([] {});
}

void Worker::fault(int32_t kind, int64_t index, int64_t value, int32_t stage) {
  pool->faults().note(kind, index, value, stage);
}

}  // namespace l3v::cpu
