// SPDX-License-Identifier: Apache-2.0
// The 16550A: FIFOs, interrupts by priority, loopback, modem lines.
#include "devices/serial/serial.h"

namespace droste {

namespace {
constexpr u64 uart_clock_hz = 1'843'200;
enum Ier : u8 { ier_received = 1, ier_thr_empty = 2, ier_line = 4, ier_modem = 8 };
enum Iir : u8 { iir_modem = 0x0, iir_none = 0x1, iir_thr_empty = 0x2, iir_received = 0x4, iir_line = 0x6,
                iir_timeout = 0xC, iir_fifos = 0xC0 };
enum Lsr : u8 { lsr_data_ready = 0x01, lsr_overrun = 0x02, lsr_break = 0x10, lsr_thr_empty = 0x20,
                lsr_idle = 0x40, lsr_fifo_error = 0x80 };
constexpr u8 trigger_levels[] = {1, 4, 8, 14};
constexpr u8 connected = 0xB0;  // CTS, DSR, DCD
}  // namespace

Serial::Serial(EventQueue& queue, const TimeSource& time, InterruptLine irq, ByteSink& sink,
               Transmit transmit)
    : queue_(queue), time_(time), irq_(irq), sink_(sink), transmit_(transmit) {}

void Serial::Fifo::push(u8 byte, u8 error) {
    if (count == fifo_size) return;
    const unsigned at = (head + count++) % fifo_size;
    data[at] = byte;
    errors[at] = error;
}

u8 Serial::Fifo::pop() {
    const u8 byte = data[head];
    head = (head + 1) % fifo_size;
    --count;
    return byte;
}

void Serial::Fifo::visit(Archive& archive) {
    archive.field("data", data);
    archive.field("errors", errors);
    archive.field("head", head);
    archive.field("count", count);
    if (archive.mode() != Archive::Mode::load) return;
    head %= fifo_size;
    if (count > fifo_size) count = fifo_size;
}

void Serial::reset() {
    file.reset(*this);
    rx_.clear();
    tx_.clear();
    lsr_errors_ = shift_register_ = 0;
    modem_inputs_ = connected;
    msr_ = connected;
    shifting_ = thr_interrupt_ = timeout_ = false;
    queue_.cancel(transmit_event_);
    queue_.cancel(timeout_event_);
    update();
}

u64 Serial::read(u64 offset, Width width) { return file.read(*this, offset, width, bank()); }

void Serial::write(u64 offset, Width width, u64 value) {
    // Byte by byte: a write to LCR can change the bank of the next byte.
    for (unsigned i = 0; i < bytes(width); ++i)
        file.write(*this, offset + i, Width::byte, value >> (8 * i) & 0xFF, bank());
}

Time Serial::character_time(unsigned characters) const {
    const u64 divisor = dlm_ << 8 | dll_;
    const u64 data_bits = 5 + (lcr_ & 3);
    const u64 half_bits =
        2 * (1 + data_bits + (bit(lcr_, 3) ? 1 : 0)) + (bit(lcr_, 2) ? (data_bits == 5 ? 3 : 4) : 2);
    const u64 clocks = 8 * half_bits * (divisor == 0 ? 1 : divisor) * characters;
    return ClockRatio{uart_clock_hz, time_.master_hz()}.time_of(clocks);
}

// --- receiving ---

unsigned Serial::room() const {
    if (loopback()) return 0;  // the input is disconnected from the line
    return rx_.count >= capacity() ? 0 : capacity() - rx_.count;
}

bool Serial::receive(u8 byte) {
    if (loopback()) return false;
    const bool fits = room() != 0;
    arrive(byte, 0);
    return fits;
}

void Serial::receive_break() {
    if (!loopback()) arrive(0, lsr_break);
}

void Serial::arrive(u8 byte, u8 error) {
    if (rx_.count >= capacity()) {
        lsr_errors_ |= lsr_overrun;
        // With FIFOs the new byte is lost, without them the old one.
        if (!fifo_enabled()) {
            rx_.clear();
            rx_.push(byte, error);
        }
    } else {
        rx_.push(byte, error);
    }
    if (rx_.count == 1) lsr_errors_ |= rx_.errors[rx_.head];  // errors show when their byte is at the top
    restart_timeout();
    update();
}

u64 Serial::read_rbr(u64) {
    if (rx_.count == 0) return 0;
    const u8 byte = rx_.pop();
    if (rx_.count != 0) lsr_errors_ |= rx_.errors[rx_.head];
    timeout_ = false;
    restart_timeout();
    update();
    return byte;
}

// The timeout: bytes below the trigger level, and nothing read or received for four characters.
void Serial::restart_timeout() {
    const bool wanted = fifo_enabled() && rx_.count != 0;
    queue_.schedule(timeout_event_, wanted ? time_.now() + character_time(4) : never);
}

void Serial::timeout_due(Time) {
    timeout_ = true;
    update();
}

// --- sending ---

void Serial::wrote_thr(u64, u64 byte) {
    thr_interrupt_ = false;
    update();  // the line falls here, so that an instant transmission makes a new edge
    if (transmit_ == Transmit::instant) {
        send(static_cast<u8>(byte));
        thr_interrupt_ = true;
    } else {
        if (tx_.count >= capacity())
            tx_.pop();  // the guest wrote without looking; the oldest byte is overwritten
        tx_.push(static_cast<u8>(byte), 0);
        start_transmitter();
    }
    update();
}

void Serial::send(u8 byte) {
    if (loopback()) {
        arrive(byte, 0);
    } else {
        sink_.put(byte);
    }
}

void Serial::start_transmitter() {
    if (shifting_ || tx_.count == 0) return;
    shift_register_ = tx_.pop();
    shifting_ = true;
    if (tx_.count == 0) thr_interrupt_ = true;
    queue_.schedule(transmit_event_, time_.now() + character_time(1));
}

void Serial::transmit_due(Time) {
    shifting_ = false;
    send(shift_register_);
    start_transmitter();
    update();
}

// --- registers ---

void Serial::wrote_ier(u64 before, u64 after) {
    // Enabling the interrupt while THR is empty raises it, each time anew: drivers probe for this.
    if (after & ~before & ier_thr_empty && tx_.count == 0) thr_interrupt_ = true;
    update();
}

u64 Serial::read_iir(u64) {
    const u8 id = interrupt_id();
    if (id == iir_thr_empty) {
        thr_interrupt_ = false;
        update();
    }
    return id | (fifo_enabled() ? iir_fifos : 0);
}

void Serial::wrote_fcr(u64 before, u64 after) {
    const bool toggled = (before ^ after) & 1;
    if (toggled || after & 2) {
        rx_.clear();
        timeout_ = false;
    }
    if (toggled || after & 4) {
        const bool had = tx_.count != 0;
        tx_.clear();
        if (had) thr_interrupt_ = true;
    }
    // The clear bits clear themselves; without bit 0 the others cannot be programmed.
    fcr_ = after & 1 ? after & 0xC9 : 0;
    restart_timeout();
    update();
}

void Serial::wrote_lcr(u64 before, u64 after) {
    // A break in loopback comes back as one.
    if (loopback() && after & ~before & 0x40) arrive(0, lsr_break);
}

void Serial::wrote_mcr(u64, u64) {
    update_modem();
    update();
}

u64 Serial::read_lsr(u64) {
    u8 v = lsr_errors_;
    if (rx_.count != 0) v |= lsr_data_ready;
    if (tx_.count == 0) v |= lsr_thr_empty;
    if (tx_.count == 0 && !shifting_) v |= lsr_idle;
    if (fifo_enabled())
        for (unsigned i = 0; i < rx_.count; ++i)
            if (rx_.errors[(rx_.head + i) % fifo_size] != 0) v |= lsr_fifo_error;
    lsr_errors_ = 0;
    if (rx_.count != 0) rx_.errors[rx_.head] = 0;
    update();
    return v;
}

u64 Serial::read_msr(u64) {
    const u8 v = msr_;
    msr_ &= 0xF0;
    update();
    return v;
}

void Serial::set_modem_inputs(u8 msr_high_nibble) {
    modem_inputs_ = msr_high_nibble & 0xF0;
    update_modem();
    update();
}

void Serial::update_modem() {
    u8 inputs = modem_inputs_;
    if (loopback())  // RTS -> CTS, DTR -> DSR, OUT1 -> RI, OUT2 -> DCD
        inputs = static_cast<u8>((mcr_ & 2) << 3 | (mcr_ & 1) << 5 | (mcr_ & 4) << 4 | (mcr_ & 8) << 4);
    const u8 changed = (inputs ^ msr_) & 0xF0;
    u8 delta = changed >> 4;
    if (bit(inputs, 6)) delta &= 0xB;  // RI counts only at its trailing edge
    msr_ = static_cast<u8>(inputs | (msr_ & 0x0F) | delta);
}

u8 Serial::interrupt_id() const {
    if (ier_ & ier_line && lsr_errors_ != 0) return iir_line;
    if (ier_ & ier_received) {
        const unsigned level = fifo_enabled() ? trigger_levels[fcr_ >> 6 & 3] : 1;
        if (rx_.count >= level) return iir_received;
        if (timeout_ && rx_.count != 0) return iir_timeout;
    }
    if (ier_ & ier_thr_empty && thr_interrupt_) return iir_thr_empty;
    if (ier_ & ier_modem && msr_ & 0x0F) return iir_modem;
    return iir_none;
}

// OUT2 connects the UART's interrupt to the PC's; loopback takes OUT2 off its pin.
void Serial::update() { irq_.set(interrupt_id() != iir_none && bit(mcr_, 3) && !loopback()); }

void Serial::visit(Archive& archive) {
    archive.section("serial", 1);
    file.visit(*this, archive);
    rx_.visit(archive);
    tx_.visit(archive);
    archive.field("lsr_errors", lsr_errors_);
    archive.field("msr", msr_);
    archive.field("modem_inputs", modem_inputs_);
    archive.field("shift_register", shift_register_);
    archive.field("shifting", shifting_);
    archive.field("thr_interrupt", thr_interrupt_);
    archive.field("timeout", timeout_);
    visit_event(archive, "transmit_due", queue_, transmit_event_);
    visit_event(archive, "timeout_due", queue_, timeout_event_);
}

// Bank 0: DLAB = 0, bank 1: DLAB = 1.
const Reg<Serial> Serial::registers[] = {
    {.offset = 0, .name = "RBR", .on = On::ro, .reading = &Serial::read_rbr, .bank = 0},
    {.offset = 0, .name = "THR", .on = On::wo, .wrote = &Serial::wrote_thr, .bank = 0},
    {.offset = 0, .name = "DLL", .stored = &Serial::dll_, .reset = 12, .mask = 0xFF, .bank = 1},
    {.offset = 1, .name = "IER", .stored = &Serial::ier_, .mask = 0x0F, .wrote = &Serial::wrote_ier,
     .bank = 0},
    {.offset = 1, .name = "DLM", .stored = &Serial::dlm_, .mask = 0xFF, .bank = 1},
    {.offset = 2, .name = "IIR", .on = On::ro, .reading = &Serial::read_iir},
    {.offset = 2, .name = "FCR", .on = On::wo, .stored = &Serial::fcr_, .mask = 0xCF,
     .wrote = &Serial::wrote_fcr},
    {.offset = 3, .name = "LCR", .stored = &Serial::lcr_, .mask = 0xFF, .wrote = &Serial::wrote_lcr},
    {.offset = 4, .name = "MCR", .stored = &Serial::mcr_, .mask = 0x1F, .wrote = &Serial::wrote_mcr},
    {.offset = 5, .name = "LSR", .on = On::ro, .reading = &Serial::read_lsr},
    {.offset = 6, .name = "MSR", .on = On::ro, .reading = &Serial::read_msr},
    {.offset = 7, .name = "SCR", .stored = &Serial::scr_, .mask = 0xFF},
};
const RegisterFile<Serial> Serial::file{Serial::registers};

}  // namespace droste
