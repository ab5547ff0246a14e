// main.cpp: emutest list, one case a line, its report behind a tab; emutest run NAME SEEDS runs it in
// every order with so many seeds each, and says "ok", or what went wrong first.
//
// nvcc builds it as well, of these files alone: then the card says whether the tables are read right.
//   nvcc -std=c++17 -gencode arch=compute_90a,code=sm_90a -I csrc/include csrc/emu/testing/*.cu csrc/emu/testing/main.cpp
// It leaves out the cases that must be reported, and the order of threads is the card's.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "testing.h"

#if defined(L3V_EMULATED)
constexpr bool kEmulated = true;
extern "C" void l3v_emu_configure(int32_t order, uint64_t seed, int32_t check);
extern "C" void l3v_emu_reset();
extern "C" void l3v_emu_card(int32_t major, int32_t multiprocessors);
#else
constexpr bool kEmulated = false;
static void l3v_emu_configure(int32_t, uint64_t, int32_t) {}
static void l3v_emu_reset() {}
#endif

namespace testing {

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

cudaStream_t stream_of_run = nullptr;
cudaStream_t stream() { return stream_of_run; }

void check(cudaError_t e) {
  if (e != cudaSuccess) throw Failure(cudaGetErrorString(e));
}
void wait() {
  check(cudaStreamSynchronize(stream()));
  check(cudaGetLastError());
}

void same(const char* what, size_t at, double got, double want, double tolerance) {
  if (std::fabs(got - want) <= tolerance) return;  // a NaN is not
  throw Failure(std::string(what) + " " + std::to_string(at) + " is " + std::to_string(got) + ", not " + std::to_string(want));
}

double small(size_t i) { return (static_cast<double>(i * 2654435761u % 65521 % 17) - 8) / 2; }

uint16_t bits16(double v, bool bf16) {
  if (v == 0) return 0;
  int exponent;
  const double fraction = std::frexp(std::fabs(v), &exponent) * 2 - 1;  // v = (1 + fraction) 2^(exponent - 1)
  const int sign = v < 0 ? 0x8000 : 0;
  return static_cast<uint16_t>(bf16 ? sign | (exponent - 1 + 127) << 7 | static_cast<int>(fraction * 128)
                                    : sign | (exponent - 1 + 15) << 10 | static_cast<int>(fraction * 1024));
}

#if defined(L3V_EMULATED)
static const Add card("a card of sm_80", "", [] {
  l3v_emu_card(8, 4);
  cudaDeviceProp p;
  const cudaError_t e = cudaGetDeviceProperties(&p, 0);
  void* encode = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t entry = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found);
  l3v_emu_card(9, 6);
  check(e);
  check(entry);
  same("major", 0, p.major, 8, 0);
  same("multiprocessors", 0, p.multiProcessorCount, 4, 0);
  same("shared memory", 0, static_cast<double>(p.sharedMemPerBlockOptin), 163 << 10, 0);
  same("tensor maps", 0, found == cudaDriverEntryPointSuccess, 0, 0);
});
#endif

std::vector<uint16_t> numbers16(size_t count, size_t first, bool bf16) {
  std::vector<uint16_t> all(count);
  for (size_t i = 0; i < count; i++) all[i] = bits16(small(first + i), bf16);
  return all;
}

namespace {

// "" where the case went as it must.
std::string run(const Case& c, int order, uint64_t seed) {
  l3v_emu_reset();
  l3v_emu_configure(order, seed, 1);
  check(cudaStreamCreateWithFlags(&stream_of_run, cudaStreamNonBlocking));
  std::string got;
  try {
    c.run();
    wait();
  } catch (const std::exception& e) {
    got = e.what();
  }
  cudaStreamDestroy(stream_of_run);  // what waits on it is dropped where the device is lost
  l3v_emu_reset();
  if (c.report.empty()) return got;
  for (size_t begin = 0, end; begin < c.report.size(); begin = end + 1) {
    end = std::min(c.report.find('|', begin), c.report.size());
    if (got.find(": " + c.report.substr(begin, end - begin)) != std::string::npos) return "";
  }
  return "not reported as " + c.report + ": " + (got.empty() ? "nothing" : got);
}

int all_orders(const Case& c, uint64_t seeds) {
  for (int order = 0; order < 4; order++) {
    for (uint64_t seed = 1; seed <= (order < 2 ? 1 : seeds); seed++) {
      const std::string wrong = run(c, order, seed);
      if (wrong.empty()) continue;
      std::printf("order %d, seed %d: %s\n", order, static_cast<int>(seed), wrong.c_str());
      return 1;
    }
  }
  std::printf("ok\n");
  return 0;
}

}  // namespace
}  // namespace testing

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "list") == 0) {
    for (const testing::Case& c : testing::cases())
      if (kEmulated || c.report.empty()) std::printf("%s\t%s\n", c.name.c_str(), c.report.c_str());
    return 0;
  }
  if (argc == 4 && std::strcmp(argv[1], "run") == 0)
    for (const testing::Case& c : testing::cases())
      if (c.name == argv[2]) return testing::all_orders(c, std::strtoull(argv[3], nullptr, 10));
  std::fprintf(stderr, "emutest list | emutest run NAME SEEDS\n");
  return 2;
}
