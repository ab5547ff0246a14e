// testing.h: tests of the emulator. A case runs kernels and either compares what they wrote with a
// plain reference, or does something wrong that must be reported. References are written from the
// PTX ISA's tables, not from the emulator's code.
#ifndef L3V_EMU_TESTING_H
#define L3V_EMU_TESTING_H

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace testing {

struct Case {
  std::string name;
  // How the emulator's report must begin, behind the kernel's name; "": there must be none. One of
  // several, between bars: which comes first depends on the order of threads.
  std::string report;
  std::function<void()> run;
};
std::vector<Case>& cases();

// At file scope, adds a case.
struct Add {
  Add(const std::string& name, const std::string& report, std::function<void()> run) {
    cases().push_back({name, report, std::move(run)});
  }
};

cudaStream_t stream();

// The emulator's report, or a value that is not the reference's.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void check(cudaError_t e);
void wait();
void same(const char* what, size_t at, double got, double want, double tolerance);

// Memory of the device. Copies are of one piece: what a launch takes by value keeps it alive.
template <class T>
class Array {
 public:
  explicit Array(size_t count) : count_(count) {
    T* p = nullptr;
    check(cudaMalloc(reinterpret_cast<void**>(&p), count * sizeof(T)));
    p_ = std::shared_ptr<T>(p, [](T* p) { cudaFree(p); });
  }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    check(cudaMemcpyAsync(data(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice, stream()));
  }
  T* data() const { return p_.get(); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    check(cudaMemcpyAsync(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost, stream()));
    wait();
    return values;
  }

 private:
  std::shared_ptr<T> p_;
  size_t count_;
};

// 16-bit floats of small whole numbers and halves, which both types hold exactly.
double small(size_t i);
uint16_t bits16(double v, bool bf16);
std::vector<uint16_t> numbers16(size_t count, size_t first, bool bf16);

}  // namespace testing
#endif
