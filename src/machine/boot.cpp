// SPDX-License-Identifier: Apache-2.0
// From the options boot.* to a processor at a kernel's entry.
#include <fmt/format.h>

#include "machine/board_map.h"
#include "machine/loader/loader.h"
#include "machine/loader/real_mode_handlers.h"
#include "machine/machine_parts.h"

namespace droste {

namespace {

/// Guest RAM as loaders see it.
class LoaderMemory final : public GuestMemory {
public:
    explicit LoaderMemory(PhysicalMemory& memory) : memory_(memory) {}
    u64 size() const override { return memory_.ram_bytes(); }
    void write(u64 address, std::span<const u8> bytes) override {
        memory_.write_block(address, bytes.data(), bytes.size());
    }
    void read(u64 address, std::span<u8> bytes) const override {
        memory_.read_block(address, bytes.data(), bytes.size());
    }

private:
    PhysicalMemory& memory_;
};

/// A name in braces that stands for a number of the stack.
struct Placeholder {
    std::string_view text, key;
};
constexpr Placeholder placeholders[] = {{"{depth}", "stack.depth"}, {"{cpus}", "stack.cpus"}};

std::string with_numbers(std::string text, const Options& options) {
    for (const Placeholder& p : placeholders)
        for (std::size_t at = 0; (at = text.find(p.text, at)) != std::string::npos;)
            text.replace(at, p.text.size(), fmt::format("{}", options.number(p.key)));
    return text;
}

Result<BootModule> module_of(const std::string& entry, std::string_view key) {
    const std::size_t blank = entry.find(' ');
    Result<Image> image = read_image(entry.substr(0, blank), key);
    if (!image)
        return image.error();
    return BootModule{std::move(*image), blank == std::string::npos ? "" : entry.substr(blank + 1)};
}

Segment segment(u16 selector, u32 access, u64 base, u32 limit) {
    return {.selector = selector, .limit = limit, .access = access, .base = base};
}

void apply(Cpu& cpu, const EntryState& e) {
    const bool long_mode = e.mode == EntryState::Mode::long64;
    // Access rights as in the VMCS: code 9B and data 93 with G; L or D/B by mode.
    const u32 code = long_mode ? 0xA09B : 0xC09B, data = 0xC093, busy_tss = 0x8B;
    cpu.segment(Seg::cs) = segment(e.code_selector, code, 0, 0xFFFF'FFFF);
    for (const Seg s : {Seg::ds, Seg::es, Seg::ss, Seg::fs, Seg::gs})
        cpu.segment(s) = segment(e.data_selector, data, 0, 0xFFFF'FFFF);
    cpu.segment(Seg::tr) = segment(e.task_selector, busy_tss, e.task_base, e.task_limit);
    cpu.segment(Seg::ldtr) = segment(0, Segment::unusable_bit, 0, 0);
    cpu.gdtr = {e.gdt_base, e.gdt_limit};
    cpu.idtr = {0, 0};
    cpu.cr0 = e.cr0;
    cpu.cr3 = e.cr3;
    cpu.cr4 = e.cr4;
    cpu.efer = e.efer;
    cpu.cpl = 0;
    cpu.gpr = {};
    cpu.reg(Gpr::rax) = e.rax;
    cpu.reg(Gpr::rbx) = e.rbx;
    cpu.reg(Gpr::rsi) = e.rsi;
    cpu.rip = e.rip;
    cpu.write_rflags(e.rflags);
    cpu.mmu.flush_all();
    cpu.context_changed();
}

/// The memory types that firmware would have set: write-back RAM, uncached device ranges. Kernels switch PAT
/// off on a machine whose MTRRs are disabled.
void set_memory_types(Cpu& cpu) {
    constexpr u32 mtrr_def_type = 0x2FF, mtrr_physbase0 = 0x200, mtrr_fix64k_00000 = 0x250,
                  mtrr_fix16k_80000 = 0x258, mtrr_fix16k_a0000 = 0x259, mtrr_fix4k_c0000 = 0x268,
                  mtrr_fix4k_f8000 = 0x26F;
    constexpr u64 all_write_back = 0x0606'0606'0606'0606, enabled_fixed_write_back = 0xC06, valid = 0x800,
                  uncached = 0;
    const auto set = [&](u32 index, u64 value) {
        const bool done = cpu.msrs->write(cpu, index, value);
        ASSERT(done);
    };
    set(mtrr_fix64k_00000, all_write_back);
    set(mtrr_fix16k_80000, all_write_back);
    set(mtrr_fix16k_a0000, uncached);
    for (u32 i = mtrr_fix4k_c0000; i <= mtrr_fix4k_f8000; ++i)
        set(i, all_write_back);
    const u64 width = (1ull << cpu.model.maxphyaddr) - 1;
    set(mtrr_physbase0, board::pci_hole | uncached);
    set(mtrr_physbase0 + 1, (~(board::four_gib - board::pci_hole - 1) & width) | valid);
    set(mtrr_def_type, enabled_fixed_write_back);
}

}  // namespace

Result<BootRequest> boot_request(const Options& options) {
    BootRequest request;
    const std::string& kernel = options.text("boot.kernel");
    if (kernel.empty())
        return Error{
            "boot.kernel: no kernel is named; write boot.kernel = \"FILE\" in the stack file, or use "
            "`droste boot --kernel FILE`"};
    Result<Image> image = read_image(kernel, fmt::format("boot.kernel ({})", options.origin("boot.kernel")));
    if (!image)
        return image.error();
    request.kernel = std::move(*image);
    std::vector<std::pair<std::string, std::string_view>> files;
    if (!options.text("boot.initrd").empty()) {
        // A path may hold blanks here: arguments are for boot.modules alone.
        Result<Image> initrd = read_image(options.text("boot.initrd"),
                                          fmt::format("boot.initrd ({})", options.origin("boot.initrd")));
        if (!initrd)
            return initrd.error();
        request.modules.push_back({std::move(*initrd), ""});
    }
    for (const std::string& entry : options.paths("boot.modules")) {
        Result<BootModule> module =
            module_of(entry, fmt::format("boot.modules ({})", options.origin("boot.modules")));
        if (!module)
            return module.error();
        request.modules.push_back(std::move(*module));
    }
    request.command_line = with_numbers(options.text("boot.append"), options);
    for (BootModule& m : request.modules)
        m.command_line = with_numbers(std::move(m.command_line), options);
    const std::string& protocol = options.text("boot.protocol");
    request.protocol = protocol == "linux"       ? BootProtocol::linux64
                       : protocol == "pvh"       ? BootProtocol::pvh
                       : protocol == "multiboot" ? BootProtocol::multiboot
                                                 : BootProtocol::automatic;
    request.decompress = options.text("boot.decompress") == "host" ? Decompress::host : Decompress::guest;
    return request;
}

Status load_into(Machine::Parts& parts, const BootRequest& given) {
    LoaderMemory memory(parts.memory);
    const std::vector<u8> tables = acpi_tables(parts.board.acpi_config(), board::firmware_tables);
    ASSERT(tables.size() <= board::real_mode_handlers - board::firmware_tables);
    memory.write(board::firmware_tables, tables);
    BootRequest request = given;
    request.rsdp = board::firmware_tables;
    if (request.protocol == BootProtocol::automatic) {
        Result<BootProtocol> found = recognise(request.kernel);
        if (!found)
            return found.error();
        request.protocol = *found;
    }
    const std::string& test_device = parts.options.text("machine.test_device");
    if (test_device == "true" || (test_device == "auto" && request.protocol == BootProtocol::multiboot))
        parts.board.add_test_devices();
    // "Other machine state should be left by the boot loader in normal working order, i.e. as initialized by the
    // BIOS" (Multiboot Specification, "Machine state"); the other protocols promise nothing of the kind.
    const bool as_bios = request.protocol == BootProtocol::multiboot;
    if (as_bios)
        lay_real_mode_handlers(memory);
    Result<EntryState> entry = load_kernel(request, memory);
    if (!entry)
        return entry.error();
    parts.board.prepare_without_firmware();
    if (as_bios)
        parts.board.prepare_as_bios();
    for (const auto& p : parts.processors)
        set_memory_types(p->cpu);
    apply(parts.processors.front()->cpu, *entry);
    return {};
}

}  // namespace droste
