// object.h: what lives on a context under an id.
#ifndef L3V_COMMON_OBJECT_H
#define L3V_COMMON_OBJECT_H

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "backend.h"

namespace l3v {

struct Object {
  explicit Object(const char* kind) : kind(kind) {}
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  const char* const kind;  // T::kKind of the struct it is, compared by address
  int64_t holds = 0;       // graphs that use it: it may not be freed
};

struct BufferObject final : Object {
  static constexpr char kKind[] = "buffer";
  BufferObject(Device* device, char* data, int64_t bytes)
      : Object(kKind), data(data), bytes(bytes), device(device) {}
  ~BufferObject() override { device->free(data, bytes); }
  char* const data;
  const int64_t bytes;

 private:
  Device* device;
};

// Rows that were written, as ranges that do not touch: first -> end.
class RowSet {
 public:
  void add(int64_t first, int64_t end);
  // The lowest row of 0..rows-1 that is missing, or -1.
  int64_t missing(int64_t rows) const;

 private:
  std::map<int64_t, int64_t> ranges_;
};

struct WeightObject final : Object {
  static constexpr char kKind[] = "weight";
  WeightObject() : Object(kKind) {}
  std::unique_ptr<Weight> weight;
  RowSet written;
  RowSet packed;  // bytes of the packed form that were written
};

struct GraphObject final : Object {
  static constexpr char kKind[] = "graph";
  GraphObject() : Object(kKind) {}
  ~GraphObject() override {
    for (Object* o : held) o->holds--;
  }
  std::unique_ptr<Graph> graph;
  std::vector<Object*> held;  // each once; alive because it is held
  char *in = nullptr, *out = nullptr;
  int64_t in_bytes = 0, out_bytes = 0;
};

struct EventObject final : Object {
  static constexpr char kKind[] = "event";
  EventObject() : Object(kKind) {}
  std::unique_ptr<Event> event;
};

}  // namespace l3v
#endif
