// Its memory, a part of the host's, and views of it.
#pragma once

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>

#include <cstring>

#include "device.h"

using at::IntArrayRef;
using at::Tensor;

namespace {

const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* at = nullptr;
    if (bytes && posix_memalign(&at, 64, bytes)) throw std::bad_alloc();
    return {at, at, &std::free, gpu()};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
} memory;

Tensor on_cpu(const Tensor& tensor) {  // the same numbers in the same place
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  auto options = tensor.options().device(at::kCPU).requires_grad(false);
  void* data = const_cast<void*>(tensor.const_data_ptr());
  return at::from_blob(data, tensor.sizes(), tensor.strides(), options);
}

Tensor empty(
    IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, keys, dtype.value_or(at::kFloat), format);
}

Tensor empty_strided(
    IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>, std::optional<Device>, std::optional<bool>) {
  auto type = dtype.value_or(at::kFloat);
  return at::detail::empty_strided_generic(size, stride, &memory, keys, type);
}

Tensor like(const Tensor& tensor) {
  return empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type(), {}, {}, {});
}

Tensor view_of(
    const Tensor& self, IntArrayRef size, IntArrayRef stride, std::optional<int64_t> offset) {
  auto view = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  auto at = offset.value_or(self.storage_offset());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, at);
  return view;
}

Tensor as(const Tensor& self, const Tensor& cpu_view) {
  return view_of(self, cpu_view.sizes(), cpu_view.strides(), self.storage_offset());
}

Tensor view(const Tensor& self, IntArrayRef size) { return as(self, on_cpu(self).view(size)); }

Tensor reshape_alias(const Tensor& self, IntArrayRef size, IntArrayRef stride) {
  return view_of(self, size, stride, self.storage_offset());
}

Tensor unfold(const Tensor& self, int64_t dim, int64_t size, int64_t step) {
  return as(self, on_cpu(self).unfold(dim, size, step));
}

Tensor& set_(
    Tensor& self, at::Storage storage, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, offset);
  return self;
}

const Tensor& resize_(
    const Tensor& self, IntArrayRef size, std::optional<at::MemoryFormat> format) {
  if (self.sizes() == size) return self;
  auto fresh = empty(size, self.scalar_type(), {}, {}, {}, format);
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
  self.unsafeGetTensorImpl()->set_sizes_and_strides(fresh.sizes(), fresh.strides());
  return self;
}

}  // namespace
