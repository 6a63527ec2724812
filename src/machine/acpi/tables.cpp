// SPDX-License-Identifier: Apache-2.0
// Layout of the ACPI tables (ACPI Specification 6.3, "ACPI System Description Tables"; HPET 1.0a; PCI
// Firmware 3.0).
#include "machine/acpi/tables.h"

#include <numeric>
#include <string_view>

#include "base/assert.h"
#include "machine/board_map.h"

namespace droste {

namespace {

/// Little-endian fields one after another.
class Table {
public:
    Table& u8s(u8 v) { return put(v, 1); }
    Table& u16s(u16 v) { return put(v, 2); }
    Table& u32s(u32 v) { return put(v, 4); }
    Table& u64s(u64 v) { return put(v, 8); }
    Table& text(std::string_view s) {
        for (const char c : s)
            u8s(static_cast<u8>(c));
        return *this;
    }
    Table& zeros(std::size_t n) {
        bytes_.resize(bytes_.size() + n);
        return *this;
    }
    Table& raw(const std::vector<u8>& more) {
        bytes_.insert(bytes_.end(), more.begin(), more.end());
        return *this;
    }
    /// Generic Address Structure of an I/O port block.
    Table& port(u16 address, u8 width) {
        constexpr u8 system_io = 1;
        const u8 access = width == 8 ? 1 : width == 16 ? 2 : 3;
        return u8s(system_io).u8s(width).u8s(0).u8s(access).u64s(address);
    }
    Table& no_address() { return zeros(12); }
    std::size_t size() const { return bytes_.size(); }
    std::vector<u8>& bytes() { return bytes_; }

private:
    Table& put(u64 v, unsigned size) {
        for (unsigned i = 0; i < size; ++i)
            bytes_.push_back(static_cast<u8>(v >> (8 * i)));
        return *this;
    }
    std::vector<u8> bytes_;
};

u8 checksum(const u8* first, std::size_t size) {
    return static_cast<u8>(0 - std::accumulate(first, first + size, 0u));
}

Table start(std::string_view signature, u8 revision) {
    Table t;
    t.text(signature)
        .u32s(0)
        .u8s(revision)
        .u8s(0)
        .text("DROSTE")
        .text("DROSTEPC")
        .u32s(1)
        .text("DRST")
        .u32s(1);
    return t;
}

/// Fills in length and checksum.
std::vector<u8> finish(Table t) {
    std::vector<u8> b = std::move(t.bytes());
    for (unsigned i = 0; i < 4; ++i)
        b[4 + i] = static_cast<u8>(b.size() >> (8 * i));
    b[9] = checksum(b.data(), b.size());
    return b;
}

std::vector<u8> facs() {
    Table t;
    t.text("FACS").u32s(64).u32s(0).u32s(0).u32s(0).u32s(0).u64s(0).u8s(2);
    return t.zeros(64 - t.size()).bytes();
}

std::vector<u8> fadt(const AcpiConfig& config, u64 facs_at, u64 dsdt_at) {
    constexpr u8 desktop = 1;
    constexpr u16 legacy_devices = 1, has_8042 = 2, no_vga = 4;
    constexpr u32 wbinvd = 1, c1_supported = 4, no_power_button = 1 << 4, no_sleep_button = 1 << 5,
                  timer_32_bits = 1 << 8, reset_register = 1 << 10;
    constexpr u16 no_c2 = 101, no_c3 = 1001;
    constexpr u8 century_register = 0x32;
    constexpr u8 hard_reset = 6;
    Table t = start("FACP", 6);
    t.u32s(static_cast<u32>(facs_at)).u32s(static_cast<u32>(dsdt_at)).u8s(0).u8s(desktop).u16s(board::sci);
    t.u32s(board::smi_command).u8s(board::acpi_enable).u8s(board::acpi_disable).u8s(0).u8s(0);
    t.u32s(board::pm1a_event).u32s(0).u32s(board::pm1a_control).u32s(0).u32s(0).u32s(board::pm_timer);
    t.u32s(0).u32s(0);                                          // no general-purpose events
    t.u8s(4).u8s(2).u8s(0).u8s(4).u8s(0).u8s(0).u8s(0).u8s(0);  // block lengths
    t.u16s(no_c2).u16s(no_c3).u16s(0).u16s(0).u8s(0).u8s(0);
    t.u8s(0).u8s(0).u8s(century_register);
    t.u16s(static_cast<u16>(legacy_devices | (config.keyboard ? has_8042 : 0) | no_vga)).u8s(0);
    t.u32s(wbinvd | c1_supported | no_power_button | no_sleep_button | (config.timer32 ? timer_32_bits : 0) |
           reset_register);
    t.port(board::reset_control, 8).u8s(hard_reset).u16s(0).u8s(3);
    t.u64s(facs_at).u64s(dsdt_at);
    t.port(board::pm1a_event, 32).no_address().port(board::pm1a_control, 16).no_address().no_address();
    t.port(board::pm_timer, 32).no_address().no_address().no_address().no_address().u64s(0);
    ASSERT(t.size() == 276);
    return finish(t);
}

std::vector<u8> madt(const AcpiConfig& config) {
    constexpr u32 has_8259 = 1;
    constexpr u16 edge_high = 5, level_high = 0xD;
    constexpr u8 all_processors = 0xFF;
    Table t = start("APIC", 4);
    t.u32s(board::local_apic).u32s(has_8259);
    for (unsigned cpu = 0; cpu < config.cpus; ++cpu)
        t.u8s(0).u8s(8).u8s(static_cast<u8>(cpu)).u8s(static_cast<u8>(cpu)).u32s(1);
    t.u8s(1).u8s(12).u8s(board::io_apic_id).u8s(0).u32s(board::io_apic).u32s(0);
    t.u8s(2).u8s(10).u8s(0).u8s(0).u32s(board::pit_gsi).u16s(edge_high);
    t.u8s(2).u8s(10).u8s(0).u8s(board::sci).u32s(board::sci).u16s(level_high);
    t.u8s(4).u8s(6).u8s(all_processors).u16s(edge_high).u8s(1);
    return finish(t);
}

std::vector<u8> hpet_table() {
    // Intel, legacy replacement, 64-bit counter, 3 comparators, revision 1: the low half of the capability
    // register.
    constexpr u32 block_id = 0x8086'A201;
    constexpr u16 least_period = 0x80;
    Table t = start("HPET", 1);
    t.u32s(block_id).u8s(0).u8s(64).u8s(0).u8s(0).u64s(board::hpet).u8s(0).u16s(least_period).u8s(0);
    return finish(t);
}

std::vector<u8> mcfg() {
    Table t = start("MCFG", 1);
    t.zeros(8).u64s(board::ecam).u16s(0).u8s(0).u8s(0xFF).u32s(0);
    return finish(t);
}

std::vector<u8> xsdt(const std::vector<u64>& addresses) {
    Table t = start("XSDT", 1);
    for (const u64 a : addresses)
        t.u64s(a);
    return finish(t);
}

/// The same list for software that knows ACPI 1.0 alone.
std::vector<u8> rsdt(const std::vector<u64>& addresses) {
    Table t = start("RSDT", 1);
    for (const u64 a : addresses)
        t.u32s(static_cast<u32>(a));
    return finish(t);
}

std::vector<u8> rsdp(u64 rsdt_at, u64 xsdt_at) {
    Table t;
    t.text("RSD PTR ").u8s(0).text("DROSTE").u8s(2).u32s(static_cast<u32>(rsdt_at)).u32s(36).u64s(xsdt_at).u8s(0).zeros(3);
    std::vector<u8> b = std::move(t.bytes());
    b[8] = checksum(b.data(), 20);
    b[32] = checksum(b.data(), b.size());
    return b;
}

}  // namespace

std::vector<u8> acpi_tables(const AcpiConfig& config, u64 base) {
    ASSERT(base % 64 == 0);
    constexpr std::size_t rsdp_room = 64;
    std::vector<u8> block(rsdp_room);
    const auto place = [&](const std::vector<u8>& table) {
        block.resize((block.size() + 63) & ~std::size_t{63});
        const u64 at = base + block.size();
        block.insert(block.end(), table.begin(), table.end());
        return at;
    };
    const u64 facs_at = place(facs());
    Table dsdt = start("DSDT", 2);
    dsdt.raw(dsdt_body(config));
    const u64 dsdt_at = place(finish(dsdt));
    std::vector<u64> listed = {place(fadt(config, facs_at, dsdt_at)), place(madt(config))};
    if (config.hpet)
        listed.push_back(place(hpet_table()));
    if (config.ecam)
        listed.push_back(place(mcfg()));
    const u64 rsdt_at = place(rsdt(listed));
    const std::vector<u8> pointer = rsdp(rsdt_at, place(xsdt(listed)));
    std::copy(pointer.begin(), pointer.end(), block.begin());
    return block;
}

}  // namespace droste
