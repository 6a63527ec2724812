// SPDX-License-Identifier: Apache-2.0
// AcpiPm: the ACPI fixed hardware: PM1 event and control blocks, PM timer, GPE0 block, and the SMI command
// port.
#pragma once
#include "base/device.h"
#include "base/events.h"
#include "base/host_output.h"
#include "base/interrupt_line.h"
#include "devices/member_event.h"
#include "devices/register_file.h"

namespace droste {

struct AcpiPmConfig {
    bool timer_32_bits = false;           ///< else 24; the FADT's TMR_VAL_EXT says which
    bool acpi_mode_at_reset = false;      ///< SCI_EN set without a command to the SMI port (FADT.SMI_CMD = 0)
    u8 soft_off_type = 0;                 ///< SLP_TYP of \_S5
    u8 acpi_enable = 0xF1, acpi_disable = 0xF0;  ///< commands of the SMI port, as in the FADT
};

/// Offsets from the PM base (0x600 by convention): 0 PM1_STS, 2 PM1_EN, 4 PM1_CNT, 8 PM_TMR, 0x20 GPE0_STS (2
/// bytes), 0x22 GPE0_EN (2 bytes). The range is 0x80 bytes long.
class AcpiPm final : public Device {
public:
    static constexpr u64 clock_hz = 3'579'545;
    static constexpr u64 range_size = 0x80;
    AcpiPm(AcpiPmConfig config, EventQueue& queue, const TimeSource& time, InterruptLine sci,
           PlatformControl& platform);

    const char* name() const override { return "acpi_pm"; }
    void reset() override;
    u64 read(u64 offset, Width width) override { return file.read(*this, offset, width); }
    void write(u64 offset, Width width, u64 value) override { file.write(*this, offset, width, value); }
    void visit(Archive& archive) override;

    void press_power_button();
    /// A general-purpose event 0..15.
    void raise_gpe(unsigned event);
    /// What firmware does when it gives the global lock back.
    void release_global_lock();
    /// A command written to the SMI port.
    void smi_command(u8 value);

private:
    static const Reg<AcpiPm> registers[];
    static const RegisterFile<AcpiPm> file;

    unsigned timer_bits() const { return config_.timer_32_bits ? 32 : 24; }
    u64 timer_now() const { return clock_.count_at(time_.now()); }
    u64 read_status(u64 stored);
    u64 read_timer(u64);
    void wrote_status(u64 before, u64 after);
    void wrote_enable(u64 before, u64 after);
    void wrote_control(u64 before, u64 after);
    void set_status(u64 status_bit);
    void note_rollover();
    void due(Time now);
    void update();

    const AcpiPmConfig config_;
    EventQueue& queue_;
    const TimeSource& time_;
    ClockRatio clock_;
    InterruptLine sci_;
    PlatformControl& platform_;
    MemberEvent<AcpiPm> event_{*this, &AcpiPm::due};

    u64 status_ = 0, enable_ = 0, control_ = 0, gpe_status_ = 0, gpe_enable_ = 0;
    u64 next_rollover_ = 0;  // the count at which the timer's top bit changes next
};

/// Ports 0xB2 (command) and 0xB3 (status): without a system-management mode the ACPI commands are done at
/// once.
class SmiCommandPort final : public Device {
public:
    explicit SmiCommandPort(AcpiPm& pm) : pm_(pm) {}
    const char* name() const override { return "smi_command_port"; }
    void reset() override { command_ = status_ = 0; }
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

private:
    AcpiPm& pm_;
    u8 command_ = 0, status_ = 0;
};

}  // namespace droste
