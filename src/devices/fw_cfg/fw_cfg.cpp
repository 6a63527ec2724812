// SPDX-License-Identifier: Apache-2.0
// The firmware configuration interface.
#include "devices/fw_cfg/fw_cfg.h"

#include <algorithm>
#include <cstring>

#include "base/archive.h"

namespace droste {

namespace {
constexpr u64 dma_signature = 0x51454D5520434647;  // what a read of the DMA address gives, big-endian
constexpr u32 dma_error = 1, dma_read = 2, dma_skip = 4, dma_select = 8, dma_write = 16;
constexpr std::size_t file_name_size = 56;

template <class T> T big_endian(T v) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
    else if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
    else return __builtin_bswap64(v);
}
template <class T> void append(std::vector<u8>& to, T v) {
    const auto* p = reinterpret_cast<const u8*>(&v);
    to.insert(to.end(), p, p + sizeof v);
}
}  // namespace

FwCfg::FwCfg(DmaMemory& memory) : memory_(memory) {
    add_item(signature, {'Q', 'E', 'M', 'U'});
    add_number(interface_id, 3, 4);  // ports and DMA
    rebuild_directory();
}

void FwCfg::add_number(u16 key, u64 value, unsigned size) {
    std::vector<u8> raw;
    for (unsigned i = 0; i < size; ++i) raw.push_back(static_cast<u8>(value >> (8 * i)));
    add_item(key, std::move(raw));
}

void FwCfg::add_cpus(u16 present, u16 apic_id_limit) {
    add_number(nb_cpus, present, 2);
    add_number(max_cpus, apic_id_limit, 2);
}

void FwCfg::add_command_line(std::string_view text) {
    std::vector<u8> raw(text.begin(), text.end());
    raw.push_back(0);
    add_number(command_line_size, raw.size(), 4);
    add_item(command_line_data, std::move(raw));
}

void FwCfg::add_initrd(std::vector<u8> raw) {
    add_number(initrd_size, raw.size(), 4);
    add_item(initrd_data, std::move(raw));
}

void FwCfg::add_kernel(std::vector<u8> setup, std::vector<u8> kernel) {
    add_number(setup_size, setup.size(), 4);
    add_item(setup_data, std::move(setup));
    add_number(kernel_size, kernel.size(), 4);
    add_item(kernel_data, std::move(kernel));
}

bool FwCfg::add_file(std::string_view file_name, std::vector<u8> raw) {
    if (file_name.size() >= file_name_size) return false;
    const auto [at, is_new] =
        files_.try_emplace(std::string(file_name), static_cast<u16>(first_file + files_.size()));
    add_item(at->second, std::move(raw));
    rebuild_directory();
    return true;
}

// A count, then for each file: size, key, reserved, name; numbers big-endian, sorted by name.
void FwCfg::rebuild_directory() {
    std::vector<u8> raw;
    append(raw, big_endian(static_cast<u32>(files_.size())));
    for (const auto& [file_name, key] : files_) {
        append(raw, big_endian(static_cast<u32>(items_[key].size())));
        append(raw, big_endian(key));
        append(raw, u16{0});
        const std::size_t start = raw.size();
        raw.insert(raw.end(), file_name.begin(), file_name.end());
        raw.resize(start + file_name_size, 0);
    }
    add_item(file_directory, std::move(raw));
}

void FwCfg::reset() {
    selected_ = 0;
    position_ = 0;
    dma_address_ = 0;
}

void FwCfg::select(u16 key) {
    selected_ = key;
    position_ = 0;
}

// Beyond its end, and for a key that does not exist, an item reads as zeros.
u8 FwCfg::next_byte() {
    const auto item = items_.find(selected_);
    if (item == items_.end() || position_ >= item->second.size()) return 0;
    return item->second[position_++];
}

u64 FwCfg::read(u64 offset, Width width) {
    if (offset == 0) return width == Width::byte ? selected_ & 0xFF : selected_;
    if (offset == 1) {
        u64 v = 0;
        for (unsigned i = 0; i < bytes(width); ++i) v |= u64(next_byte()) << (8 * i);
        return v;
    }
    if (offset < 4 || offset >= 12) return ~0ull;
    return big_endian(dma_signature) >> (8 * (offset - 4));
}

void FwCfg::write(u64 offset, Width width, u64 value) {
    if (offset == 0) {
        select(static_cast<u16>(value));
    } else if (offset == 4 && width == Width::qword) {
        dma_address_ = big_endian(value);
        run_dma();
    } else if (offset == 4 && width == Width::dword) {
        dma_address_ = u64(big_endian(static_cast<u32>(value))) << 32;
    } else if (offset == 8 && width == Width::dword) {
        dma_address_ = (dma_address_ & 0xFFFF'FFFF'0000'0000) | big_endian(static_cast<u32>(value));
        run_dma();
    }
}

// The control structure: control, length, address, big-endian; control is written back when all is done.
void FwCfg::run_dma() {
    const MachinePhys structure(dma_address_);
    dma_address_ = 0;
    u8 raw[16];
    if (!memory_.read(structure, raw, sizeof raw)) return;
    u32 control, length;
    u64 address;
    std::memcpy(&control, raw, 4);
    std::memcpy(&length, raw + 4, 4);
    std::memcpy(&address, raw + 8, 8);
    control = big_endian(control);
    length = big_endian(length);
    address = big_endian(address);
    if (control & dma_select) select(static_cast<u16>(control >> 16));
    bool ok = true;
    if (control & dma_read) {
        ok = transfer(address, length, true);
    } else if (control & dma_write) {
        ok = false;  // no item can be written
    } else if (control & dma_skip) {
        ok = transfer(address, length, false);
    }
    const u32 result = big_endian(ok ? 0u : dma_error);
    (void)memory_.write(structure, &result, sizeof result);
}

bool FwCfg::transfer(u64 address, u32 length, bool to_memory) {
    static constexpr u8 zeros[4096] = {};
    const auto item = items_.find(selected_);
    const std::size_t size = item == items_.end() ? 0 : item->second.size();
    const u32 present = static_cast<u32>(std::min<u64>(length, position_ < size ? size - position_ : 0));
    if (to_memory && present != 0 &&
        !memory_.write(MachinePhys(address), item->second.data() + position_, present))
        return false;
    position_ += present;
    if (!to_memory) return true;
    for (u64 at = present; at < length;) {
        const u64 part = std::min<u64>(sizeof zeros, length - at);
        if (!memory_.write(MachinePhys(address + at), zeros, part)) return false;
        at += part;
    }
    return true;
}

void FwCfg::visit(Archive& archive) {
    archive.section("fw_cfg", 1);
    archive.field("selected", selected_);
    archive.field("position", position_);
    archive.field("dma_address", dma_address_);
}

}  // namespace droste
