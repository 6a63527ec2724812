// SPDX-License-Identifier: Apache-2.0
// Serial: a 16550A UART.
#pragma once
#include <array>

#include "base/device.h"
#include "base/events.h"
#include "base/host_output.h"
#include "base/interrupt_line.h"
#include "devices/member_event.h"
#include "devices/register_file.h"

namespace droste {

enum class Transmit : u8 {
    instant,  ///< a byte leaves at the moment it is written
    timed,    ///< a byte takes the time that the divisor gives it
};

/// Eight ports. Bytes from outside come in through receive(), stamped in time by the caller.
class Serial final : public Device {
public:
    Serial(EventQueue& queue, const TimeSource& time, InterruptLine irq, ByteSink& sink,
           Transmit transmit = Transmit::instant);

    const char* name() const override { return "serial"; }
    void reset() override;
    u64 read(u64 offset, Width width) override;
    void write(u64 offset, Width width, u64 value) override;
    void visit(Archive& archive) override;

    /// How many bytes receive() takes now without an overrun.
    unsigned room() const;
    /// A byte arrives from the line. False: there was no room, and the guest sees an overrun error.
    bool receive(u8 byte);
    /// The line is held low for longer than a character.
    void receive_break();
    /// Modem inputs as in MSR bits 4..7: CTS, DSR, RI, DCD. Reset connects CTS, DSR and DCD.
    void set_modem_inputs(u8 msr_high_nibble);

private:
    static constexpr unsigned fifo_size = 16;
    struct Fifo {
        std::array<u8, fifo_size> data{};
        std::array<u8, fifo_size> errors{};  // LSR bits 1..4 that came with the byte
        u8 head = 0, count = 0;
        void clear() { *this = Fifo{}; }
        void push(u8 byte, u8 error);
        u8 pop();
        void visit(Archive& archive);
    };

    static const Reg<Serial> registers[];
    static const RegisterFile<Serial> file;

    u8 bank() const { return bit(lcr_, 7) ? 1 : 0; }
    bool fifo_enabled() const { return bit(fcr_, 0); }
    bool loopback() const { return bit(mcr_, 4); }
    unsigned capacity() const { return fifo_enabled() ? fifo_size : 1; }
    Time character_time(unsigned characters) const;

    // Hooks of the register table.
    u64 read_rbr(u64);
    void wrote_thr(u64 before, u64 after);
    void wrote_ier(u64 before, u64 after);
    u64 read_iir(u64);
    void wrote_fcr(u64 before, u64 after);
    void wrote_lcr(u64 before, u64 after);
    void wrote_mcr(u64 before, u64 after);
    u64 read_lsr(u64);
    u64 read_msr(u64);

    void arrive(u8 byte, u8 error);
    void send(u8 byte);
    void start_transmitter();
    void transmit_due(Time now);
    void timeout_due(Time now);
    void restart_timeout();
    void update_modem();
    u8 interrupt_id() const;
    void update();

    EventQueue& queue_;
    const TimeSource& time_;
    InterruptLine irq_;
    ByteSink& sink_;
    const Transmit transmit_;
    MemberEvent<Serial> transmit_event_{*this, &Serial::transmit_due};
    MemberEvent<Serial> timeout_event_{*this, &Serial::timeout_due};

    // The storage of the table's rows.
    u64 ier_ = 0, fcr_ = 0, lcr_ = 0, mcr_ = 0, scr_ = 0, dll_ = 0, dlm_ = 0;

    Fifo rx_, tx_;
    u8 lsr_errors_ = 0;          // LSR bits 1..4 (latched until read)
    u8 msr_ = 0;
    u8 modem_inputs_ = 0;
    u8 shift_register_ = 0;
    bool shifting_ = false;      // timed transmission: a byte is on the line
    bool thr_interrupt_ = false; // THRE is pending as an interrupt
    bool timeout_ = false;       // the character timeout is pending
};

}  // namespace droste
