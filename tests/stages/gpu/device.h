// What torch asks of a device: which one it is, its streams, of which there is one, generators.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>

using c10::Device;
using c10::DeviceType;

namespace {

Device gpu() {  // each process of a training has one of its own
  static const char* rank = std::getenv("LOCAL_RANK");
  return Device(DeviceType::CUDA, rank ? std::atoi(rank) : 0);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, gpu()); }
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device) const override { return gpu(); }
  Device getDevice() const override { return gpu(); }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  c10::Stream getStream(Device) const noexcept override { return stream(); }
  c10::Stream getDefaultStream(Device) const override { return stream(); }
  c10::Stream getNewStream(Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  c10::DeviceIndex deviceCount() const noexcept override { return gpu().index() + 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag)
      const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};

struct OfGenerator : c10::GeneratorImpl {  // CPU kernels want a CPU's generator
  static void move(const at::Generator& generator, Device device) {
    generator.unsafeGetGeneratorImpl()->*(&OfGenerator::device_) = device;
  }
};

const Guard guard;
const c10::impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, &guard);

}  // namespace

namespace at {
struct CUDAHooks final : CUDAHooksInterface {  // torch looks for a class of this name
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return gpu().index() + 1; }
  DeviceIndex getCurrentDevice() const override { return gpu().index(); }
  void setCurrentDevice(DeviceIndex) const override {}
  Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  Generator getNewGenerator(DeviceIndex) const override {
    auto generator = make_generator<CPUGeneratorImpl>(default_rng_seed_val);
    OfGenerator::move(generator, gpu());
    return generator;
  }
  const Generator& getDefaultGenerator(DeviceIndex index) const override {
    static const Generator generator = getNewGenerator(index);
    return generator;
  }
};
REGISTER_CUDA_HOOKS(CUDAHooks);
}  // namespace at
