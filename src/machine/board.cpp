// SPDX-License-Identifier: Apache-2.0
// The wiring of the board.
#include "machine/board.h"

#include "base/assert.h"
#include "machine/board_map.h"

namespace droste {

namespace {

std::vector<std::unique_ptr<LocalApic>> make_local_apics(const BoardConfig& config, const BoardParts& p,
                                                         ApicBus& bus) {
    std::vector<std::unique_ptr<LocalApic>> apics;
    for (const ProcessorWires& w : p.processors)
        apics.push_back(std::make_unique<LocalApic>(
            LocalApicConfig{.id = static_cast<u32>(apics.size()),
                            .bootstrap_processor = apics.empty(),
                            .max_phys_addr_bits = config.max_phys_addr_bits,
                            .bus_hz = config.bus_hz},
            bus, p.events, p.time, w.pins));
    return apics;
}

}  // namespace

Board::Board(const BoardConfig& config, const BoardParts& p)
    : ports_(p.ports), mmio_(p.mmio), memory_(p.memory), events_(p.events), time_(p.time), platform_(p.platform), console_(p.console),
      local_apics_(make_local_apics(config, p, apic_bus_)), io_apic_(apic_bus_, board::io_apic_id),
      pic_(InterruptLine(*local_apics_.front(), LocalApic::lint0)),
      hpet_({}, p.events, p.time, io_apic_, isa(0), isa(8)),
      pit_(p.events, p.time, InterruptLine(hpet_, Hpet::pit_input)),
      rtc_(p.events, p.time, InterruptLine(hpet_, Hpet::rtc_input), config.rtc_epoch),
      com1_(p.events, p.time, isa(4), p.console), acpi_pm_({.timer_32_bits = true,
                                                            .soft_off_type = board::soft_off_type,
                                                            .acpi_enable = board::acpi_enable,
                                                            .acpi_disable = board::acpi_disable},
                                                           p.events, p.time, isa(board::sci), p.platform),
      smi_port_(acpi_pm_), reset_control_(p.platform), system_control_a_(p.platform, *this),
      keyboard_(isa(1), isa(12), p.platform, *this), debug_exit_(p.platform), debug_console_(p.console),
      fw_cfg_(*this), pci_host_(p.ports, p.mmio), pci_intx_({gsi(16), gsi(17), gsi(18), gsi(19)}),
      pci_config_ports_(pci_host_, reset_control_), pci_ecam_(pci_host_),
      host_bridge_(p.mmio, pci_ecam_, board::ecam),
      lpc_bridge_(p.ports, acpi_pm_, AcpiPm::range_size, board::pm_base),
      devices_{&io_apic_,
               &pic_,
               &hpet_,
               &pit_,
               &rtc_,
               &com1_,
               &acpi_pm_,
               &smi_port_,
               &reset_control_,
               &system_control_a_,
               &keyboard_,
               &debug_exit_,
               &debug_console_,
               &post_codes_,
               &fw_cfg_,
               &pci_config_ports_,
               &pci_ecam_},
      functions_{&host_bridge_, &lpc_bridge_} {
    std::vector<Device*> apics;
    for (const auto& apic : local_apics_)
        apics.push_back(apic.get());
    devices_.insert(devices_.begin(), apics.begin(), apics.end());
    for (unsigned irq = 0; irq < 16; ++irq) {
        if (irq == 2)
            continue;  // the cascade
        isa_.connect(irq, InterruptLine(pic_, irq));
        isa_.connect(irq, InterruptLine(io_apic_, irq == 0 ? board::pit_gsi : irq));
    }
    apic_bus_.connect_8259(pic_);
    constexpr unsigned lpc_slot = 31;
    ASSERT(pci_host_.add(0, 0, host_bridge_) && pci_host_.add(lpc_slot, 0, lpc_bridge_));
    for (PciFunction* f : functions_)
        f->connect(pci_host_);
    attach_ports(p.ports);
    attach_memory(p.mmio);
    const u64 ram = memory_.ram_bytes(), low = ram < board::pci_hole ? ram : board::pci_hole;
    rtc_.set_memory_size(low, ram - low);
    fw_cfg_.add_memory_size(ram);
    const auto processors = static_cast<u16>(local_apics_.size());
    fw_cfg_.add_cpus(processors, processors);
    reset();
    for (std::size_t i = 0; i < local_apics_.size(); ++i) {
        const ProcessorWires& w = p.processors[i];
        w.window.connect(*local_apics_[i], w.tsc_offset);
        apic_windows_.push_back(&w.window);
    }
}

void Board::attach(PortBus& bus, u16 first, u64 size, Device& device, u64 offset) {
    ASSERT(!bus.attach({Port(first), size}, device, offset));
}

void Board::attach_ports(PortBus& ports) {
    attach(ports, 0x20, 2, pic_);
    attach(ports, 0xA0, 2, pic_, 2);
    attach(ports, 0x4D0, 2, pic_, 4);
    attach(ports, 0x40, 4, pit_);
    attach(ports, 0x61, 1, pit_, 4);
    attach(ports, 0x60, 1, keyboard_);
    attach(ports, 0x64, 1, keyboard_, 1);
    attach(ports, 0x70, 2, rtc_);
    attach(ports, 0x80, 16, post_codes_);
    attach(ports, 0x92, 1, system_control_a_);
    attach(ports, board::smi_command, 2, smi_port_);
    attach(ports, 0xE9, 1, debug_console_);
    attach(ports, 0x402, 1, debug_console_);
    attach(ports, 0xF4, 4, debug_exit_);
    attach(ports, board::com1, 8, com1_);
    attach(ports, 0x510, 12, fw_cfg_);
    attach(ports, 0xCF8, 8, pci_config_ports_);  // the reset control register lies among them
}

void Board::attach_memory(MemoryBus& mmio) {
    ASSERT(!mmio.attach({MachinePhys(board::io_apic), 0x1000}, io_apic_));
    ASSERT(!mmio.attach({MachinePhys(board::hpet), 0x400}, hpet_));
}

void Board::reset() {
    for (Device* d : devices_)
        d->reset();
    for (PciFunction* f : functions_)
        f->reset();
    pci_intx_.reset();
    if (test_devices_)
        test_devices_->reset();
}

void Board::add_test_devices() {
    test_devices_ = std::make_unique<TestDevices>(TestDeviceParts{.ports = ports_,
                                                                  .mmio = mmio_,
                                                                  .isa = isa_,
                                                                  .io_apic = io_apic_,
                                                                  .platform = platform_,
                                                                  .console = console_,
                                                                  .pci = pci_host_,
                                                                  .events = events_,
                                                                  .time = time_});
}

void Board::prepare_as_bios() {
    struct Write {
        Device& device;
        u64 offset;
        u8 value;
    };
    // Mode 2 of timer channel 0 with the longest period, which raises its output; then ICW1 (cascaded, ICW4 follows;
    // the edge is forgotten) to ICW4 (8086 mode) of both 8259s, and their masks: the timer and the cascade are open.
    const Write writes[] = {
        {pit_, 3, 0x34}, {pit_, 0, 0},                      {pit_, 0, 0},
        {pic_, 0, 0x11}, {pic_, 1, board::bios_vectors[0]}, {pic_, 1, 0x04}, {pic_, 1, 0x01},
        {pic_, 2, 0x11}, {pic_, 3, board::bios_vectors[1]}, {pic_, 3, 0x02}, {pic_, 3, 0x01},
        {pic_, 1, 0xFA}, {pic_, 3, 0xFF},
    };
    for (const Write& w : writes)
        w.device.write(w.offset, Width::byte, w.value);
}

void Board::visit(Archive& archive) {
    archive.section("board", 1);
    archive.field("a20", a20_);
    for (Device* d : devices_)
        d->visit(archive);
    for (PciFunction* f : functions_)
        f->visit(archive);
    pci_intx_.visit(archive);
    if (test_devices_)
        test_devices_->visit(archive);
    if (archive.mode() == Archive::Mode::load)
        for (ApicWindow* window : apic_windows_)
            window->place();
}

AcpiConfig Board::acpi_config() const {
    return {.cpus = static_cast<unsigned>(local_apics_.size()), .hpet = true, .ecam = true, .pci = true};
}

bool Board::read(MachinePhys from, void* data, std::size_t size) {
    for (u64 at = 0; at < size; at += 0x1000)
        if (memory_.host(from.value + at) == nullptr)
            return false;
    if (size != 0 && memory_.host(from.value + size - 1) == nullptr)
        return false;
    memory_.read_block(from.value, data, size);
    return true;
}

bool Board::write(MachinePhys to, const void* data, std::size_t size) {
    for (u64 at = 0; at < size; at += 0x1000)
        if (memory_.host(to.value + at) == nullptr)
            return false;
    if (size != 0 && memory_.host(to.value + size - 1) == nullptr)
        return false;
    memory_.write_block(to.value, data, size);
    return true;
}

}  // namespace droste
