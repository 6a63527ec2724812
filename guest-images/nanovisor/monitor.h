// SPDX-License-Identifier: Apache-2.0
// What one instance of the hypervisor knows: its processor, its guest, and the guests that it runs on its guest's behalf.
#pragma once

#include "options.h"
#include "vmx.h"

namespace nano {

constexpr unsigned max_levels = 17; // its own guest is 1
constexpr u64 no_address = ~0ull;

struct alignas(4096) Page {
    u64 words[512];
};

struct SlotList {
    unsigned count;
    u8 slots[field_count];
    const u8* begin() const { return slots; }
    const u8* end() const { return slots + count; }
    void add(u8 s) { slots[count++] = s; }
};

// The controls that a VMX implementation lets be set, and those that it wants set.
struct Capabilities {
    u32 revision;
    u64 allowed[6];  // by Word
    u64 required[6];
    u64 ept_vpid;
    u64 misc;
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    bool exists[field_count];
    SlotList read, guest, control, address, information; // the rows that exist, for each loop of merge.cpp and reflect.cpp
    bool has(ControlBit c) const { return allowed[unsigned(c.word)] >> c.number & 1; }
};

// Translations of one guest: the tables that this hypervisor made.
struct EptContext {
    u64 root;   // 0: none yet
    u64 source; // the EPT pointer by which the guest hypervisor names them
    unsigned parent; // level of that guest hypervisor
    u64 age;
};

// One VMCS of this hypervisor, and what it knows of its fields. For a nested guest it is a VMCS02.
struct Context {
    Page* region;
    bool launched;
    bool guest_known; // `in_region` holds for fields of the guest state, too
    FieldImage in_region;
    unsigned parent;  // of a VMCS02: the level of the guest hypervisor,
    u64 source;       // and its name for its VMCS12
    u64 source_region; // where that lies
    FieldImage vmcs12; // as of the last entry
    bool vmcs12_known; // what the processor writes there is as of then, too
    bool information_known; // and the exit information is as of the last exit that this hypervisor reflected
    EptContext* ept;
    u64 age;
    u64 routing_link, routing_reasons, routing_exceptions; // as programmed; 0: not yet
};

// Software at one level, as far as it acts as a hypervisor that this one serves.
struct Level {
    Context* context; // by which this level runs
    bool vmx_on;
    u64 vmxon;
    u64 current;        // its current VMCS
    u64 current_region; // where that lies
};

// A VMCS that a guest hypervisor has loaded.
struct Tracked {
    u64 address; // in the words of the level; no_address: free
    unsigned level;
    bool launched;
    bool marked; // this hypervisor set the shadow indicator
};

constexpr unsigned tracked_count = 64, context_count = 28, ept_context_count = 24, ept_pool_pages = 160;

// Whether the entry that comes next is one that a guest asked for.
enum class Entering : u8 { no, by_launch, by_resume };

struct Monitor {
    Options options;
    Capabilities real, offered;
    u64 memory_size;  // of this instance
    u64 guest_offset; // where its guest's address 0 lies
    u64 guest_size;
    bool direct_entries; // the processor may do without this hypervisor at entries, too
    unsigned serves;  // VMX instructions of levels up to this one are emulated here
    bool hardware_shadow;
    unsigned running; // the level that the processor is in
    Entering entering;
    u64 loaded;       // current VMCS of the processor
    u64 clock;
    u64 fault_rights; // what the guest hypervisor's EPT allows at the address of an EPT violation
    u64 linear_end; // below this guest address memory lies at guest_offset
    u64 lazy_first, lazy_end; // guest addresses that are mapped when they are used first
    u64 exits;
    u64 nmis_seen; // of those that this instance heard, handed on
    bool watching; // memory errors are reported
    Level level[max_levels + 1];
    Context contexts[context_count];
    Tracked tracked[tracked_count];
    EptContext own_ept;
    EptContext ept[ept_context_count];
    unsigned pool_used, own_pool_used;
};

extern Monitor monitor;

// to_own() remembers, until a guest's INVEPT.
struct Translation {
    u64 page, own;
    const Context* context;
};
constexpr unsigned translation_count = 1024;

struct Registers {
    u64 gpr[16];
};
extern "C" Registers guest_registers;

// capabilities.cpp
void read_capabilities(Capabilities& c);
Capabilities offered_capabilities(const Capabilities& real, bool shadow);
// What RDMSR of a VMX capability MSR gives.
u64 capability_msr(const Capabilities& c, u32 number);

// region.cpp: the processor's current VMCS, and VMCSs of guests
void load(Monitor& m, u64 region);
void set(Context& c, u8 s, u64 value);
inline bool holds(const Context& c, u8 s, u64 value, bool guest_state)
{
    return c.in_region[s] == value && (c.guest_known || !guest_state);
}
void open_vmcs12(Monitor& m, u64 region);
u64 read_vmcs12(Monitor& m, u64 region, u8 s);
void write_vmcs12(Monitor& m, u64 region, u8 s, u64 value);
Tracked* find_tracked(Monitor& m, unsigned level, u64 address);
Tracked& track(Monitor& m, unsigned level, u64 address);
Context& context_for(Monitor& m, unsigned parent, u64 address, u64 region);

// ept.cpp
void map(EptContext& e, u64 guest, u64 own, u64 size, u64 rights, bool permanent);
void unmap(EptContext& e, u64 guest);
u64 ept_pointer(const EptContext& e);
void drop_contexts(Monitor& m, unsigned parent, u64 source); // source no_address: all of them
EptContext& ept_for(Monitor& m, unsigned parent, u64 source);
// Where an address of this level lies in this hypervisor's memory; no_address when it is not mapped.
u64 to_own(Monitor& m, unsigned level, u64 address);
void forget_translations(Monitor& m);
// missing_in_guest: the guest hypervisor just below did not map it; missing_below: one further below; missing_here: this one.
enum class Compose : u8 { done, missing_in_guest, misconfigured, missing_below, missing_here };
Compose compose(Monitor& m, unsigned level, u64 address, u64 access, u64& below); // below: the address at level 1

// merge.cpp
void prepare_own(Monitor& m, Context& c);
void start_own(Monitor& m, Context& c);
// VMCS12 of level - 1, whose VMCS is loaded, into the VMCS02 of `level`; 0, or an error number.
u32 merge(Monitor& m, unsigned level);

// reflect.cpp: exit from `level` to the hypervisor at level - 1
void reflect(Monitor& m, unsigned level, u64 exit_reason);
void reflect_ept(Monitor& m, unsigned level, bool misconfigured);
void fail_entry(Monitor& m, unsigned level, u64 exit_reason);

// route.cpp
bool wants(Monitor& m, unsigned level, u32 exit_reason); // does the hypervisor at level - 1 want this exit of `level`?

// Is the hypervisor at `level`, in this instance's count, one that does not emulate VMX?
inline bool does_not_nest(const Monitor& m, unsigned level) { return m.options.not_nested >> (m.options.level + level) & 1; }
unsigned served_levels(const Monitor& m);
// Does this instance handle an exit of `level` in place of hypervisors in between?
bool claims(const Monitor& m, unsigned level, u32 exit_reason);

// links.cpp: exit routing
void start_routing(Monitor& m);
void program_routing(Monitor& m, unsigned level, bool own_bitmaps_matter); // the VMCS02 of `level` is loaded
void find_running(Monitor& m);

// operand.cpp
u64 linear_of_operand(u64 information);
u64 own_of_linear(Monitor& m, u64 linear); // no_address after an exception was injected
u64& register_operand(unsigned number);

// handlers.cpp
void inject(u8 vector_number, bool has_error, u32 error_code = 0);
void skip_instruction();
void handle(Monitor& m, u32 exit_reason);

// vmx_emulation.cpp
void emulate_vmx(Monitor& m, u32 exit_reason);
void fail_instruction(Monitor& m, u32 number);

// run.cpp
[[noreturn]] void run(Monitor& m);

} // namespace nano
