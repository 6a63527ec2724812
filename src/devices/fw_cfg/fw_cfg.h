// SPDX-License-Identifier: Apache-2.0
// FwCfg: the firmware configuration interface: numbered items and named files, read by port or by DMA.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/device.h"
#include "devices/dma_memory.h"

namespace droste {

/// Offsets: 0 selector (port 0x510), 1 data (0x511), 4..11 DMA address, big-endian (0x514). Attach 12 ports.
/// The items are configuration, given before the machine starts; only selection and position are state.
class FwCfg final : public Device {
public:
    enum Key : u16 {
        signature = 0x00,
        interface_id = 0x01,
        uuid = 0x02,
        ram_size = 0x03,
        nographic = 0x04,
        nb_cpus = 0x05,
        machine_id = 0x06,
        kernel_address = 0x07,
        kernel_size = 0x08,
        initrd_address = 0x0A,
        initrd_size = 0x0B,
        boot_menu = 0x0E,
        max_cpus = 0x0F,
        kernel_data = 0x11,
        initrd_data = 0x12,
        command_line_address = 0x13,
        command_line_size = 0x14,
        command_line_data = 0x15,
        setup_address = 0x16,
        setup_size = 0x17,
        setup_data = 0x18,
        file_directory = 0x19,
        first_file = 0x20
    };

    explicit FwCfg(DmaMemory& memory);

    void add_item(u16 key, std::vector<u8> bytes) { items_[key] = std::move(bytes); }
    /// A little-endian number of `size` bytes.
    void add_number(u16 key, u64 value, unsigned size);
    void add_memory_size(u64 bytes) { add_number(ram_size, bytes, 8); }
    void add_cpus(u16 present, u16 apic_id_limit);
    void add_command_line(std::string_view text);
    void add_initrd(std::vector<u8> bytes);
    void add_kernel(std::vector<u8> setup, std::vector<u8> kernel);
    /// False if the name is longer than 55 bytes. A second file of the same name replaces the first.
    [[nodiscard]] bool add_file(std::string_view file_name, std::vector<u8> bytes);

    const char* name() const override { return "fw_cfg"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    void select(u16 key);
    u8 next_byte();
    void rebuild_directory();
    void run_dma();
    bool transfer(u64 address, u32 length, bool to_memory);

    DmaMemory& memory_;
    std::map<u16, std::vector<u8>> items_;
    std::map<std::string, u16> files_;

    u16 selected_ = 0;
    u32 position_ = 0;
    u64 dma_address_ = 0;
};

}  // namespace droste
