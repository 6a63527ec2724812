// SPDX-License-Identifier: Apache-2.0
// PciHost: the functions of bus 0, reached through ports 0xCF8/0xCFC (mechanism 1) and through ECAM.
#pragma once
#include <array>
#include <vector>

#include "base/bus.h"
#include "devices/pci/pci_function.h"

namespace droste {

/// Owns no function; attaches and detaches their windows on the two buses.
class PciHost final : public PciDecoder {
public:
    PciHost(PortBus& ports, MemoryBus& memory) : ports_(ports), memory_(memory) {}

    /// Puts `function` at bus 0, `slot`.`number`. False: taken.
    [[nodiscard]] bool add(unsigned slot, unsigned number, PciFunction& function);
    /// Absent functions read all ones.
    u64 config_read(unsigned bus, unsigned slot, unsigned number, u32 offset, Width width);
    void config_write(unsigned bus, unsigned slot, unsigned number, u32 offset, Width width, u64 value);
    void decode_changed(PciWindow& window, bool decode, u64 address) override;

private:
    PciFunction* find(unsigned bus, unsigned slot, unsigned number) const;
    void attach(PciWindow& window);
    void detach(PciWindow& window);

    PortBus& ports_;
    MemoryBus& memory_;
    std::array<PciFunction*, 256> functions_{};
    std::vector<PciWindow*> decoded_;  // windows that claim addresses, whether the bus had room or not
};

/// Ports 0xCF8..0xCFF. A byte access to 0xCF9 belongs to the reset control register.
class PciConfigPorts final : public Device {
public:
    PciConfigPorts(PciHost& host, Device& reset_control) : host_(host), reset_control_(reset_control) {}
    const char* name() const override { return "pci_config_ports"; }
    void reset() override { address_ = 0; }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    PciHost& host_;
    Device& reset_control_;  // its own state is saved by its owner
    u32 address_ = 0;
};

/// The enhanced configuration access mechanism: 1 MiB a bus, 4 KiB a function.
class PciEcam final : public Device {
public:
    explicit PciEcam(PciHost& host) : host_(host) {}
    const char* name() const override { return "pci_ecam"; }
    void reset() override {}
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    PciHost& host_;
};

}  // namespace droste
