// A GPU in the host's memory: tensors of device "cuda" that the CPU's kernels work on.
//
// It shows on a machine without a GPU that all tensors of an operation are on one, that nothing
// looks at numbers while a graph is recorded, and that replaying it does what was recorded. It says
// nothing about speed, memory, streams, or the rounding of a GPU's own kernels.

#include <torch/library.h>

#include "kernels.h"

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&any>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", view_of);
  m.impl("view", view);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("unfold", unfold);
  m.impl("set_.source_Storage_storage_offset", set_);
  m.impl("resize_", resize_);
  m.impl("copy_", copy_);
  m.impl("_local_scalar_dense", item);
  m.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&any>());
  m.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&any>());
}

extern "C" {

int begin_graph() {
  graphs.emplace_back();
  recording = true;
  return graphs.size() - 1;
}

void end_graph() { recording = false; }

void replay_graph(int number) {
  for (const auto& work : graphs[number]) work();
}
}
