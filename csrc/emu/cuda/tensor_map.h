// tensor_map.h: what the emulator writes into a CUtensorMap.
#ifndef L3V_EMU_TENSOR_MAP_H
#define L3V_EMU_TENSOR_MAP_H

#include <cuda.h>

namespace emu::cuda {

constexpr uint32_t kTensorMapMagic = 0x4D54334Cu;
constexpr uint32_t kMaxRank = 5;

// dims and box: elements, strides: bytes; of dimension 0 first. strides[i] is of dimension i + 1.
struct MapFields {
  uint32_t magic;
  uint8_t rank, element_bytes, swizzle_bytes, reserved;
  char* base;
  uint64_t dims[kMaxRank], strides[kMaxRank - 1];
  uint16_t box[kMaxRank];
};
static_assert(sizeof(MapFields) <= sizeof(CUtensorMap), "a tensor map has 128 bytes");

// cuTensorMapEncodeTiled.
CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* dims,
                      const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps,
                      CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                      CUtensorMapFloatOOBfill fill);

}  // namespace emu::cuda
#endif
