// penalize.cpp: repetition, presence and frequency penalties, in place. A text has some thousand
// tokens of a vocabulary of a hundred thousand, so this is a search for the few columns it has:
// memory bound, five bytes a column, and the same code for all sets.
#include <cmath>
#include <cstring>

#include "ops.h"

namespace l3v::cpu {
namespace {

struct Penalties {
  float repetition, presence, frequency;
};

// The column of the setting that is out of range, or -1.
int32_t out_of_range(const Penalties& p) {
  if (!(p.repetition > 0) || !std::isfinite(p.repetition)) return 0;
  if (!std::isfinite(p.presence)) return 1;
  return std::isfinite(p.frequency) ? -1 : 2;
}

bool neutral(const Penalties& p) {
  return (p.repetition == 1 || p.repetition == 0) && p.presence == 0 && p.frequency == 0;
}

float penalized(float x, const Penalties& p, int32_t count) {
  x = x < 0 ? x * p.repetition : x / p.repetition;
  return count > 0 ? x - (p.presence + p.frequency * static_cast<float>(count)) : x;
}

constexpr int kStep = 32;

// Whether the text has any of kStep columns; prompt may be null. A count below zero is a false alarm.
bool any(const int32_t* counts, const uint8_t* prompt) {
  int32_t counted = 0;
  for (int i = 0; i < kStep; i++) counted |= counts[i];
  if (prompt == nullptr) return counted != 0;
  uint64_t marks[kStep / 8];
  std::memcpy(marks, prompt, sizeof marks);
  return counted != 0 || (marks[0] | marks[1] | marks[2] | marks[3]) != 0;
}

}  // namespace

void penalize(const PenalizeArgs& a, Worker& w) {
  for (int64_t row; (row = w.claim(a.rows)) >= 0;) {
    const float* settings = a.settings.f32(row);
    const Penalties p{settings[0], settings[1], settings[2]};
    if (neutral(p)) continue;
    if (const int32_t bad = out_of_range(p); bad >= 0) {
      w.fault(L3V_FAULT_SETTING, row, bad);
      continue;
    }
    float* x = a.x.f32(row);
    const int32_t* counts = a.counts.i32(row);
    const uint8_t* prompt = a.prompt ? a.prompt.u8(row) : nullptr;
    for (int64_t c = 0; c < a.cols;) {
      if (a.cols - c >= kStep && !any(counts + c, prompt == nullptr ? nullptr : prompt + c)) {
        c += kStep;
        continue;
      }
      for (const int64_t end = a.cols - c >= kStep ? c + kStep : a.cols; c < end; c++)
        if (counts[c] > 0 || (prompt != nullptr && prompt[c] != 0)) x[c] = penalized(x[c], p, counts[c]);
    }
  }
}

}  // namespace l3v::cpu
