// SPDX-License-Identifier: Apache-2.0
// Routing of interrupt messages to local APICs.
#include "devices/local_apic/apic_bus.h"

#include "devices/local_apic/local_apic.h"

namespace droste {

bool ApicBus::deliver(const ApicMessage& message, Shorthand shorthand, LocalApic* source) {
    const auto selected = [&](LocalApic& apic) {
        switch (shorthand) {
        case Shorthand::none: return apic.is_destination(message);
        case Shorthand::self: return &apic == source;
        case Shorthand::all_including_self: return apic.globally_enabled();
        case Shorthand::all_excluding_self: return &apic != source && apic.globally_enabled();
        }
        return false;
    };
    if (message.mode == DeliveryMode::lowest_priority) {
        LocalApic* best =
            nullptr;  // the first of equals, so that the choice does not depend on anything unsaved
        for (LocalApic* apic : apics_)
            if (selected(*apic) && apic->software_enabled() &&
                (best == nullptr || apic->processor_priority() < best->processor_priority()))
                best = apic;
        return best != nullptr && best->accept(message);
    }
    bool accepted = false;
    for (LocalApic* apic : apics_)
        if (selected(*apic)) accepted |= apic->accept(message);
    return accepted;
}

bool ApicBus::deliver_msi(MachinePhys address, u32 data) {
    if (address.value >> 20 != 0xFEE) return false;
    ApicMessage m;
    m.destination = static_cast<u32>(bits(address.value, 19, 12));
    m.destination_mode = bit(address.value, 2) ? DestinationMode::logical : DestinationMode::physical;
    m.mode = static_cast<DeliveryMode>(bits(data, 10, 8));
    m.trigger = bit(data, 15) ? TriggerMode::level : TriggerMode::edge;
    m.vector = static_cast<u8>(data);
    if (m.trigger == TriggerMode::level && !bit(data, 14)) return true;  // a deassert message changes nothing
    return deliver(m);
}

void ApicBus::broadcast_eoi(u8 vector) {
    for (EoiListener* listener : listeners_) listener->end_of_interrupt(vector);
}

u8 ApicBus::acknowledge_8259(u8 otherwise) {
    return ext_int_ != nullptr ? ext_int_->interrupt_acknowledge() : otherwise;
}

}  // namespace droste
