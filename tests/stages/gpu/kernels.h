// Its kernels, which are the CPU's, and its graphs: what was asked, to be done again.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <functional>
#include <vector>

#include "memory.h"

namespace {

using Graph = std::vector<std::function<void()>>;
std::vector<Graph> graphs;
bool recording = false;

void refuse(const char* what) {
  TORCH_CHECK(!recording, "operation not permitted when stream is capturing: ", what);
}

struct NoGradient {
  c10::impl::ExcludeDispatchKeyGuard keys{c10::autograd_dispatch_keyset};
};

Tensor& copy_(Tensor& self, const Tensor& source, bool) {
  NoGradient guard;
  if (self.device() != source.device()) refuse("copy between devices");
  auto work = [to = self, source] { on_cpu(to).copy_(on_cpu(source)); };
  if (recording) {
    graphs.back().emplace_back(work);
  } else {
    work();
  }
  return self;
}

at::Scalar item(const Tensor& self) {
  refuse("item");
  return at::_local_scalar_dense(on_cpu(self));
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() && argument.alias_info()->isWrite();
}

// Calls a CPU kernel with all tensors where they are, or with copies of them.
std::vector<c10::IValue> call(
    const c10::OperatorHandle& op, const std::vector<c10::IValue>& given, bool copies) {
  auto moved = [copies](const Tensor& tensor) {
    return copies && tensor.defined() ? on_cpu(tensor).clone() : on_cpu(tensor);
  };
  torch::jit::Stack stack;
  at::Generator generator;
  for (size_t i = 0; i < given.size(); i++) {
    auto value = given[i];
    if (value.isTensor()) {
      auto tensor = value.toTensor();
      bool resized = is_written(op.schema().arguments()[i]) && tensor.numel() == 0;
      value = resized ? at::empty({0}, tensor.options().device(at::kCPU)) : moved(tensor);
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (Tensor tensor : value.toTensorVector()) list.push_back(moved(tensor));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (std::optional<Tensor> tensor : value.toOptionalTensorList())
        list.push_back(tensor ? std::optional<Tensor>(moved(*tensor)) : std::nullopt);
      value = list;
    } else if (value.isGenerator() && value.toGenerator().defined()) {
      generator = value.toGenerator();
    } else if (value.isDevice()) {
      value = Device(at::kCPU);
    }
    stack.push_back(value);
  }
  NoGradient guard;
  if (generator.defined()) OfGenerator::move(generator, Device(at::kCPU));
  op.callBoxed(&stack);
  if (generator.defined()) OfGenerator::move(generator, gpu());
  return stack;
}

void check(const c10::OperatorHandle& op, const c10::IValue& value) {
  auto one = [&op](const Tensor& tensor) {
    TORCH_CHECK(
        !tensor.defined() || tensor.is_cuda() || tensor.dim() == 0, op.operator_name(),
        ": expected all tensors to be on the same device, one ", tensor.sizes(), " is on the CPU");
  };
  if (value.isTensor()) one(value.toTensor());
  if (value.isTensorList()) {
    for (const Tensor& tensor : value.toTensorVector()) one(tensor);
  }
  if (value.isGenerator() && value.toGenerator().defined())
    TORCH_CHECK(
        value.toGenerator().device().is_cuda(), op.operator_name(),
        ": expected a 'cuda' device type for generator but found 'cpu'");
}

void any(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  auto count = schema.arguments().size();
  std::vector<c10::IValue> given(stack->end() - count, stack->end());
  stack->resize(stack->size() - count);
  for (const auto& value : given) check(op, value);
  for (auto tag : {at::Tag::nondeterministic_seeded, at::Tag::data_dependent_output,
                   at::Tag::dynamic_output_shape})
    if (op.hasTag(tag)) refuse(schema.name().c_str());

  auto found = call(op, given, recording);  // copies tell the shapes of what is recorded
  std::vector<c10::IValue> results;
  for (size_t r = 0; r < found.size(); r++) {
    auto value = found[r];
    const auto* alias = schema.returns()[r].alias_info();
    TORCH_CHECK(!alias || alias->isWrite(), op.operator_name(), " is a view, write it down");
    for (size_t i = 0; alias && i < count; i++) {
      const auto* other = schema.arguments()[i].alias_info();
      if (!other || *other != *alias) continue;
      auto out = given[i].toTensor(), by = value.toTensor();
      if (out.sizes() != by.sizes()) {
        resize_(out, by.sizes(), {});
        out.unsafeGetTensorImpl()->set_sizes_and_strides(by.sizes(), by.strides());
        on_cpu(out).copy_(by);
      }
      value = out;
    }
    if (!alias && value.isTensor() && value.toTensor().defined()) {
      auto out = like(value.toTensor());
      on_cpu(out).copy_(value.toTensor());
      value = out;
    } else if (!alias && value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) {
        list.push_back(like(tensor));
        on_cpu(list.get(list.size() - 1)).copy_(tensor);
      }
      value = list;
    }
    results.push_back(value);
    stack->push_back(value);
  }
  if (!recording) return;
  graphs.back().emplace_back([op, given, results] {
    auto again = call(op, given, false);
    for (size_t r = 0; r < again.size(); r++) {
      if (op.schema().returns()[r].alias_info()) continue;
      if (again[r].isTensor() && again[r].toTensor().defined())
        on_cpu(results[r].toTensor()).copy_(again[r].toTensor());
      if (again[r].isTensorList()) {
        auto from = again[r].toTensorVector(), to = results[r].toTensorVector();
        for (size_t i = 0; i < from.size(); i++) on_cpu(to[i]).copy_(from[i]);
      }
    }
  });
}

}  // namespace
