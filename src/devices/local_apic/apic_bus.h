// SPDX-License-Identifier: Apache-2.0
// ApicBus: carries interrupt messages between local APICs, I/O APICs and devices with MSI.
#pragma once
#include <vector>

#include "base/types.h"

namespace droste {

class LocalApic;

enum class DeliveryMode : u8 { fixed, lowest_priority, smi, reserved, nmi, init, startup, ext_int };
enum class DestinationMode : u8 { physical, logical };
enum class TriggerMode : u8 { edge, level };
enum class Shorthand : u8 { none, self, all_including_self, all_excluding_self };

struct ApicMessage {
    u32 destination = 0;
    DestinationMode destination_mode = DestinationMode::physical;
    DeliveryMode mode = DeliveryMode::fixed;
    TriggerMode trigger = TriggerMode::edge;
    u8 vector = 0;
    /// The destination is the 32-bit one of an x2APIC ICR; otherwise it has 8 bits.
    bool wide = false;
};

/// Runs the interrupt-acknowledge cycle of the 8259 pair.
class ExtIntSource {
public:
    virtual ~ExtIntSource() = default;
    virtual u8 interrupt_acknowledge() = 0;
};

/// Hears the EOI broadcasts of level-triggered interrupts (the I/O APIC).
class EoiListener {
public:
    virtual ~EoiListener() = default;
    virtual void end_of_interrupt(u8 vector) = 0;
};

class ApicBus {
public:
    void attach(LocalApic& apic) { apics_.push_back(&apic); }
    void attach(EoiListener& listener) { listeners_.push_back(&listener); }
    void connect_8259(ExtIntSource& source) { ext_int_ = &source; }

    /// True if at least one local APIC accepted the message. `source` is the sender for the shorthands.
    bool deliver(const ApicMessage& message, Shorthand shorthand = Shorthand::none,
                 LocalApic* source = nullptr);
    /// A memory write of a device to 0xFEExxxxx. SDM "Message Signalled Interrupts".
    bool deliver_msi(MachinePhys address, u32 data);
    void broadcast_eoi(u8 vector);
    /// The 8259's vector, or `otherwise` if none is connected.
    u8 acknowledge_8259(u8 otherwise);

private:
    std::vector<LocalApic*> apics_;
    std::vector<EoiListener*> listeners_;
    ExtIntSource* ext_int_ = nullptr;
};

}  // namespace droste
