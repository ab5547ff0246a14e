// patch_embed.cpp: out = W flatten(square) + bias + position, as a linear op over the squares laid
// out as rows.
//
// A picture at a time: its squares are copied to [grid, channels * patch * patch] in the shared
// workspace, then the set's linear kernel runs with the position table as residual. The order of
// sums is that of linear.
#include <cstring>

#include "ops.h"

namespace l3v::cpu {
namespace {

int64_t grid_width(const PatchEmbedArgs& a) { return a.width / a.patch; }
int64_t grid_of(const PatchEmbedArgs& a) { return (a.height / a.patch) * grid_width(a); }
int64_t square_size(const PatchEmbedArgs& a) { return a.channels * a.patch * a.patch; }
int64_t squares_bytes(const PatchEmbedArgs& a) {
  return (grid_of(a) * square_size(a) * static_cast<int64_t>(sizeof(float)) + 63) / 64 * 64;
}

// The linear op of one picture, its squares at x.
LinearArgs linear_of(const PatchEmbedArgs& a, int64_t image, char* x) {
  LinearArgs l{};
  l.weight = a.weight;
  l.x.data = x;
  l.x.stride = square_size(a);
  l.x.dtype = L3V_F32;
  l.bias = a.bias;
  l.residual = a.position;
  l.out = a.out;
  l.out.data = reinterpret_cast<char*>(a.out.f32(image * grid_of(a)));
  l.rows = grid_of(a);
  l.activation = L3V_ACT_NONE;
  l.compute = a.compute;
  return l;
}

void copy_square(const PatchEmbedArgs& a, int64_t image, int64_t square, float* out) {
  const int64_t top = square / grid_width(a) * a.patch, left = square % grid_width(a) * a.patch;
  for (int64_t c = 0; c < a.channels; c++)
    for (int64_t y = 0; y < a.patch; y++, out += a.patch)
      std::memcpy(out, a.pixels.f32((image * a.channels + c) * a.height + top + y) + left,
                  static_cast<size_t>(a.patch) * sizeof(float));
}

void patch_embed(const PatchEmbedArgs& a, Worker& w, void (*linear)(const LinearArgs&, Worker&)) {
  char* const squares = w.shared;
  for (int64_t image = 0; image < a.images; image++) {
    for (int64_t s; (s = w.claim(grid_of(a))) >= 0;)
      copy_square(a, image, s, reinterpret_cast<float*>(squares) + s * square_size(a));
    w.barrier();  // the squares are all there
    w.shared = squares + squares_bytes(a);
    linear(linear_of(a, image, squares), w);
    w.shared = squares;
    if (image + 1 < a.images) w.barrier();  // all are read before the next picture's take their place
  }
}

Workspace workspace(const PatchEmbedArgs& a, int workers,
                    Workspace (*linear)(const LinearArgs&, int)) {
  Workspace s = linear(linear_of(a, 0, nullptr), workers);
  s.shared += squares_bytes(a);
  return s;
}

}  // namespace

void patch_embed_scalar(const PatchEmbedArgs& a, Worker& w) { patch_embed(a, w, linear_scalar); }
Workspace patch_embed_workspace_scalar(const PatchEmbedArgs& a, int workers) {
  return workspace(a, workers, linear_workspace_scalar);
}

#if defined(__x86_64__)
void patch_embed_avx2(const PatchEmbedArgs& a, Worker& w) { patch_embed(a, w, linear_avx2); }
void patch_embed_avx512(const PatchEmbedArgs& a, Worker& w) { patch_embed(a, w, linear_avx512); }
Workspace patch_embed_workspace_avx2(const PatchEmbedArgs& a, int workers) {
  return workspace(a, workers, linear_workspace_avx2);
}
Workspace patch_embed_workspace_avx512(const PatchEmbedArgs& a, int workers) {
  return workspace(a, workers, linear_workspace_avx512);
}
#endif

#if defined(__aarch64__)
void patch_embed_neon(const PatchEmbedArgs& a, Worker& w) { patch_embed(a, w, linear_neon); }
Workspace patch_embed_workspace_neon(const PatchEmbedArgs& a, int workers) {
  return workspace(a, workers, linear_workspace_neon);
}
#endif

}  // namespace l3v::cpu
