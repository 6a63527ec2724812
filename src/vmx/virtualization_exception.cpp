// SPDX-License-Identifier: Apache-2.0
// EPT violations that become exceptions of the guest (SDM "Virtualization Exceptions").
#include "vmx/vmx.h"

namespace droste {

namespace {

/// Offsets in the virtualization-exception information area.
namespace area {
constexpr u64 reason = 0, busy = 4, qualification = 8, guest_linear = 16, guest_physical = 24, eptp_index = 32;
}

}  // namespace

// SDM "Convertible EPT Violations".
bool Vmx::converts(const WalkFault& fault) const {
    return controls_.has("ept_violation_ve"_vmx) && fault.convertible && cpu_.protected_mode() &&
           !cpu_.vectoring.active && !cpu_.shadow_stack_prematurely_busy &&
           cpu_.memory.read32(at(get("virtualization_exception_information_address"_f)) + area::busy) == 0;
}

void Vmx::virtualization_exception(u64 qualification, const WalkFault& fault) {
    const u64 at = this->at(get("virtualization_exception_information_address"_f));
    PhysicalMemory& memory = cpu_.memory;
    memory.write32(at + area::reason, "ept_violation"_exit->number);
    memory.write32(at + area::busy, 0xFFFFFFFF);
    memory.write64(at + area::qualification, qualification);
    memory.write64(at + area::guest_linear, fault.linear.value);
    memory.write64(at + area::guest_physical, fault.guest_phys.value);
    memory.write(at + area::eptp_index, Width::word, get("eptp_index"_f));
    cpu_.deliver(Fault::of(Vector::ve));
}

}  // namespace droste
