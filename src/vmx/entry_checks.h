// SPDX-License-Identifier: Apache-2.0
// The checks of VM entry: one function for each sentence of the SDM, in its order; the first that fails is
// reported.
#pragma once
#include <cstring>
#include <span>
#include <string_view>

#include "cpu/cpu.h"
#include "cpu/msr.h"
#include "vmx/capability_msrs.h"
#include "vmx/layer.h"
#include "vmx/vmcs.h"

namespace droste {

/// Hears what a check reads, and may answer in its place: so an explanation learns what a check depends on.
class EntryProbe {
public:
    virtual ~EntryProbe() = default;
    virtual u64 field(Field field, u64 value) = 0;
    virtual u64 word(VmxWord word, u64 value) = 0;
    virtual bool control(Capability control, u64 word) = 0;
};

/// The fields of the VMCS, as checks read them.
class EntryFields {
public:
    EntryFields(const Vmcs& vmcs, EntryProbe* probe = nullptr) : vmcs_(&vmcs), probe_(probe) {}
    u64 operator[](Field f) const {
        const u64 value = (*vmcs_)[f];
        return probe_ == nullptr ? value : probe_->field(f, value);
    }
    u64 address() const { return vmcs_->address(); }
    const Vmcs& vmcs() const { return *vmcs_; }
    bool probed() const { return probe_ != nullptr; }

private:
    const Vmcs* vmcs_;
    EntryProbe* probe_;
};

/// The controls, as checks read them: a word that is not activated is 0.
class EntryControls {
public:
    EntryControls(const Controls& controls, EntryProbe* probe = nullptr)
        : controls_(&controls), probe_(probe) {}
    bool has(Capability c) const {
        return probe_ == nullptr ? controls_->has(c) : probe_->control(c, (*controls_)[c.word]);
    }
    u64 operator[](VmxWord w) const {
        const u64 value = (*controls_)[w];
        return probe_ == nullptr ? value : probe_->word(w, value);
    }
    const Controls& controls() const { return *controls_; }

private:
    const Controls* controls_;
    EntryProbe* probe_;
};

/// What the checks look at. Nothing is changed by a check.
struct EntryContext {
    EntryFields v;
    EntryControls c;
    const VmxCapabilities& caps;
    const Cpu& cpu;
    const Layer* layer = nullptr;  ///< of a hypervisor that is itself a guest (routing design `native`)
    /// Bits of CR4 that the processor does not have, and that the hypervisor beneath shows to this one. They stand in
    /// the VMCS alone.
    u64 emulated_cr4 = 0;
    /// Machine address of an address in the VMCS.
    u64 reach(u64 address) const { return layer == nullptr ? address : layer->reach(address); }
    /// Memory that a check must see. A probe that tries other addresses never reaches a device.
    u64 memory(u64 address, Width width) const {
        address = reach(address);
        if (!v.probed()) return cpu.memory.read(address, width);
        const u8* host = cpu.memory.host(address);
        if (host == nullptr || (address & 0xFFF) + bytes(width) > 0x1000) return width_mask(width);
        u64 value = 0;
        std::memcpy(&value, host, bytes(width));
        return value;
    }
    u32 entry_info() const { return static_cast<u32>(v["entry_interruption_information"_f]); }
    bool injects() const { return entry_info() >> 31; }
    unsigned injected_type() const { return (entry_info() >> 8) & 7; }
    unsigned injected_vector() const { return entry_info() & 0xFF; }
};

enum class Stage : u8 {
    controls,     ///< VMfailValid 7
    host_state,   ///< VMfailValid 8
    guest_state,  ///< VM-entry failure, exit reason 33
};

/// Exit qualifications of VM-entry failures due to invalid guest state.
enum class EntryFailure : u8 { other = 0, pdpte = 2, nmi_injection = 3, vmcs_link_pointer = 4 };

/// Checks of controls and host state hold until software writes one of their fields. Those that read memory,
/// or fields written for each entry, are made every time.
enum class When : u8 { after_writes, every_entry };

struct EntryCheck {
    std::string_view name;
    Stage stage;
    bool (*passes)(const EntryContext&);
    EntryFailure qualification = EntryFailure::other;
    When when = When::after_writes;
};

/// The SDM's section from the row `first` of a table on.
struct EntrySection {
    std::string_view first;
    std::string_view title;
};

std::span<const EntryCheck> control_entry_checks();
std::span<const EntryCheck> host_entry_checks();
std::span<const EntryCheck> guest_entry_checks();
std::span<const EntrySection> control_entry_sections();
std::span<const EntrySection> host_entry_sections();
std::span<const EntrySection> guest_entry_sections();

/// The first of `checks` that fails, or null.
inline const EntryCheck* first_failing(std::span<const EntryCheck> checks, const EntryContext& x) {
    for (const EntryCheck& check : checks)
        if (!check.passes(x)) return &check;
    return nullptr;
}

/// Rows of host_entry_checks() that ask in which mode the processor is.
bool depends_on_mode(const EntryCheck& host_check);

// Checks of the exit-routing extension (entry_checks_routing.cpp).
bool routing_links(const EntryContext& x);
bool routing_revisions(const EntryContext& x);
bool routing_state_apart(const EntryContext& x);
bool routing_links_foreign(const EntryContext& x);
bool routing_hypervisors_launched(const EntryContext& x);
bool routing_policy_table(const EntryContext& x);
bool routing_controls_reserved(const EntryContext& x);

// Vocabulary of the checks.

/// SDM "Canonical Addressing".
inline bool canonical(const EntryContext& x, u64 address) {
    return sign_extend(address, x.cpu.model.linear_bits) == address;
}
/// An address of a VMX structure: aligned to 2^alignment and within the physical-address width.
inline bool structure_address(const EntryContext& x, u64 address, unsigned alignment) {
    return (address & ((1ull << alignment) - 1)) == 0 && x.caps.within_width(address);
}
/// Bits 63:N of a field are identical; bit N-1 may differ (SDM "Checks on Guest RIP, RFLAGS, and SSP").
inline bool nearly_canonical(const EntryContext& x, u64 value) {
    const u64 high = value >> x.cpu.model.linear_bits;
    return high == 0 || high == (~0ull >> x.cpu.model.linear_bits);
}
/// What WRMSR would take: IA32_S_CET and IA32_U_CET, but for the canonicality of the bitmap's address.
bool valid_cet(const EntryContext& x, u64 value);
/// The eight FRED fields from `config` on: CONFIG, RSP1-3, STKLVLS, SSP1-3.
bool valid_fred(const EntryContext& x, Field config);

/// SDM "Extended-Page-Table Pointer (EPTP)": would VM entry accept it? Also asked by INVEPT and VMFUNC.
bool valid_eptp(const VmxCapabilities& caps, u64 eptp);
/// The PDPTEs that PAE paging loads have no reserved bit set.
bool valid_pdptes(const std::array<u64, 4>& pdptes, unsigned maxphyaddr);

}  // namespace droste
