// SPDX-License-Identifier: Apache-2.0
// PciTestDevice: the PCI function by which test kernels try port and memory windows: it counts matching writes.
#pragma once
#include <optional>
#include <string_view>

#include "devices/pci/pci_function.h"

namespace droste {

/// 1B36:0005. Base address register 0 is memory, 1 is ports. A byte written to offset 0 of a window chooses a test
/// of that window; reads then show its description:
///
///   +0 test   +1 width   +4 offset (32 bits)   +8 data   +12 count (32 bits)   +16 name, ends with 0
///
/// and each byte `data` written to `offset` counts.
class PciTestDevice final : public PciFunction {
public:
    static constexpr u64 memory_size = 4096, port_size = 256;
    PciTestDevice();
    const char* name() const override { return "pci_test_device"; }
    void reset() override;
    void visit(Archive& archive) override;

private:
    enum class Space : u8 { memory, ports };
    class Window final : public Device {
    public:
        Window(PciTestDevice& owner, Space space) : owner_(owner), space_(space) {}
        const char* name() const override { return "pci_test_window"; }
        void reset() override {}
        u64 read(u64 offset, Width width) override;
        void write(u64 offset, Width width, u64 value) override { owner_.write(space_, offset, width, value); }
        void visit(Archive&) override {}

    private:
        PciTestDevice& owner_;
        Space space_;
    };
    struct Test {
        Space space;
        std::string_view name;
        u8 data;
        bool any_write;  ///< whatever is written counts, in any width
    };
    static const Test tests_[];
    static constexpr unsigned tests_of_a_space = 3;
    static constexpr u8 none = 0xFF;

    u8 byte(u64 offset) const;
    void write(Space space, u64 offset, Width width, u64 value);
    const Test* chosen() const;
    u32 counting_offset() const;

    Window memory_{*this, Space::memory}, ports_{*this, Space::ports};
    u8 test_ = none;
    u32 count_ = 0;
};

}  // namespace droste
