// SPDX-License-Identifier: Apache-2.0
// Reads the command line, and writes that of the guest.
#include "options.h"

#include "console.h"

namespace nano {

namespace {

// True when the word at `p` begins with `key`; `p` then stands behind it.
bool begins(const char*& p, const char* key)
{
    const char* q = p;
    while (*key)
        if (*q++ != *key++) return false;
    p = q;
    return true;
}

bool at_end(char c) { return c == 0 || c == ' ' || c == ','; }

bool is(const char*& p, const char* word)
{
    const char* q = p;
    if (!begins(q, word) || !at_end(*q)) return false;
    p = q;
    return true;
}

unsigned read_number(const char*& p)
{
    if (*p < '0' || *p > '9') panic("a number is missing on the command line");
    unsigned n = 0;
    while (*p >= '0' && *p <= '9') n = n * 10 + unsigned(*p++ - '0');
    return n;
}

u32 read_workloads(const char*& p)
{
    if (is(p, "all")) return ~0u;
    u32 set = 0;
    for (;;) {
        unsigned i = 0;
        while (i < workload_count && !is(p, workloads[i].name)) ++i;
        if (i == workload_count) panic("the command line names an unknown workload");
        set |= 1u << i;
        if (*p != ',') return set;
        ++p;
    }
}

Routing read_routing(const char*& p)
{
    if (is(p, "sdm")) return Routing::sdm;
    if (is(p, "links")) return Routing::links;
    if (is(p, "layered")) return Routing::layered;
    if (is(p, "parent-context")) return Routing::parent_context;
    panic("the command line names an unknown routing");
}

char* append(char* to, const char* words)
{
    while (*words) *to++ = *words++;
    return to;
}

char* append(char* to, unsigned value)
{
    if (value >= 10) to = append(to, value / 10);
    *to++ = char('0' + value % 10);
    return to;
}

} // namespace

Options parse_options(const char* p)
{
    Options o;
    for (;;) {
        while (*p == ' ') ++p;
        if (*p == 0) return o;
        if (is(p, "--")) {
            while (*p == ' ') ++p;
            o.rest = p;
            return o;
        }
        if (begins(p, "level=")) o.level = read_number(p);
        else if (begins(p, "depth=")) o.depth = read_number(p);
        else if (begins(p, "iterations=")) o.iterations = read_number(p);
        else if (begins(p, "workload=")) o.workload = read_workloads(p);
        else if (begins(p, "routing=")) o.routing = read_routing(p);
        else if (is(p, "measure=all")) o.every_level = true;
        else if (is(p, "measure=deepest")) o.every_level = false;
        else if (is(p, "vmcs=trap")) o.shadow = false;
        else if (is(p, "vmcs=shadow")) o.shadow = true;
        else if (is(p, "scenario=ras")) o.ras = true;
        else if (is(p, "guest=linux")) o.linux_guest = true;
        else if (begins(p, "not-nested=")) o.not_nested |= 1u << (read_number(p) & 31);
        else panic("the command line has an unknown word");
        if (*p != 0 && *p != ' ') panic("the command line has an unknown word");
    }
}

unsigned write_options(const Options& o, unsigned level, char* to)
{
    char* p = append(append(to, "nanovisor level="), level);
    p = append(append(p, " depth="), o.depth);
    p = append(append(p, " iterations="), o.iterations);
    p = append(p, o.every_level ? " measure=all" : " measure=deepest");
    p = append(p, o.shadow ? " vmcs=shadow" : " vmcs=trap");
    for (unsigned i = 0; i < 32; ++i)
        if (o.not_nested >> i & 1) p = append(append(p, " not-nested="), i);
    if (o.ras) p = append(p, " scenario=ras");
    const char* separator = " workload=";
    for (unsigned i = 0; i < workload_count; ++i)
        if (o.workload >> i & 1) {
            p = append(append(p, separator), workloads[i].name);
            separator = ",";
        }
    *p = 0;
    return unsigned(p - to);
}

} // namespace nano
