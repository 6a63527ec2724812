// SPDX-License-Identifier: Apache-2.0
// Port I/O: the permission bit map of the TSS and the way to the port bus.
#include "cpu/io.h"

#include "cpu/cpu.h"
#include "cpu/debug.h"

namespace droste {

bool io_permitted(Cpu& cpu, u16 port, unsigned size) {
    if (!cpu.protected_mode()) return true;
    if (!cpu.v86() && cpu.cpl <= cpu.iopl()) return true;
    // SDM "I/O Permission Bit Map": two bytes are read always, so the map ends with a byte of ones.
    const Segment& tr = cpu.segment(Seg::tr);
    cpu.pending_fault = Fault::of(Vector::gp, 0);
    const bool tss32 = (tr.type() & 0xD) == 9;
    if (tr.unusable() || !tss32 || tr.limit < 0x67) return false;
    u16 map = 0;
    if (!cpu.load_system(tr.base + 0x66, map)) return false;
    const u32 at = u32(map) + port / 8;
    if (at + 1 > tr.limit) {
        cpu.pending_fault = Fault::of(Vector::gp, 0);
        return false;
    }
    u16 permissions = 0;
    if (!cpu.load_system(tr.base + at, permissions)) return false;
    const unsigned mask = ((1u << size) - 1) << (port & 7);
    if ((permissions & mask) == 0) return true;
    cpu.pending_fault = Fault::of(Vector::gp, 0);
    return false;
}

u64 port_read(Cpu& cpu, u16 port, unsigned size) {
    note_io_access(cpu, port, size);
    return cpu.ports.read(Port(port), static_cast<Width>(size));
}

void port_write(Cpu& cpu, u16 port, unsigned size, u64 value) {
    note_io_access(cpu, port, size);
    cpu.ports.write(Port(port), static_cast<Width>(size), value);
}

}  // namespace droste
