// tensor_map.cpp: the driver's half of TMA, with its rules (CUDA Driver API 13.0,
// cuTensorMapEncodeTiled).
#include "tensor_map.h"

#include <cstring>

namespace emu::cuda {
namespace {

uint32_t bytes_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8: return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32: return 4;
  }
  return 0;
}

bool aligned(const void* p, uint64_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

}  // namespace

CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* dims,
                      const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps,
                      CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                      CUtensorMapFloatOOBfill fill) {
  const uint32_t element = bytes_of(type);
  if (map == nullptr || !aligned(map, 64) || element == 0 || rank == 0 || rank > kMaxRank || base == nullptr || !aligned(base, 16) ||
      interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE ||
      swizzle < CU_TENSOR_MAP_SWIZZLE_NONE || swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
    return CUDA_ERROR_INVALID_VALUE;
  MapFields f{};
  f.magic = kTensorMapMagic;
  f.rank = static_cast<uint8_t>(rank);
  f.element_bytes = static_cast<uint8_t>(element);
  f.swizzle_bytes = static_cast<uint8_t>(swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16u << swizzle);
  f.base = static_cast<char*>(base);
  for (uint32_t i = 0; i < rank; i++) {
    if (dims[i] == 0 || dims[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 || steps[i] != 1) return CUDA_ERROR_INVALID_VALUE;
    f.dims[i] = dims[i];
    f.box[i] = static_cast<uint16_t>(box[i]);
    if (i + 1 == rank) break;
    if (strides[i] % 16 != 0 || strides[i] >= uint64_t{1} << 40) return CUDA_ERROR_INVALID_VALUE;
    f.strides[i] = strides[i];
  }
  const uint32_t row = box[0] * element;
  if (row % 16 != 0 || (f.swizzle_bytes != 0 && row > f.swizzle_bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(map->opaque, &f, sizeof f);
  return CUDA_SUCCESS;
}

}  // namespace emu::cuda
