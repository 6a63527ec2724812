// SPDX-License-Identifier: Apache-2.0
// Placing the local APICs' register pages, and whose registers an access reaches.
#include "machine/apic_window.h"

#include "base/assert.h"

namespace droste {

ApicPages::~ApicPages() {
    for (auto& [address, use] : uses_)
        if (use.attached)
            ASSERT(!mmio_.detach(MachinePhys(address)));
}

ApicWindow& ApicPages::add() {
    return windows_.emplace_back(*this);
}

void ApicPages::take(MachinePhys address) {
    Use& use = uses_[address.value];
    if (use.windows++ != 0)
        return;
    use.page = std::make_unique<Page>(*this, address);
    // Over RAM or over another device the page is not reachable; a guest that moves it there loses it.
    use.attached = !mmio_.attach({address, page_size}, *use.page);
}

void ApicPages::leave(MachinePhys address) {
    const auto use = uses_.find(address.value);
    if (--use->second.windows != 0)
        return;
    if (use->second.attached)
        ASSERT(!mmio_.detach(address));
    uses_.erase(use);
}

LocalApic* ApicPages::Page::apic() const {
    LocalApic* const apic = pages_.windows_[pages_.running_.running_processor()].apic();
    return apic != nullptr && apic->mmio_page() == address_ ? apic : nullptr;
}

u64 ApicPages::Page::read(u64 offset, Width width) {
    LocalApic* const mine = apic();
    return mine == nullptr ? ~0ull : mine->read(offset, width);
}

void ApicPages::Page::write(u64 offset, Width width, u64 value) {
    if (LocalApic* const mine = apic())
        mine->write(offset, width, value);
}

void ApicWindow::place() {
    const std::optional<MachinePhys> wanted = apic_->mmio_page();
    if (wanted == placed_)
        return;
    if (placed_)
        pages_.leave(*placed_);
    if (wanted)
        pages_.take(*wanted);
    placed_ = wanted;
}

}  // namespace droste
