// SPDX-License-Identifier: Apache-2.0
// Processes, archives and digests for the system tests.
#include "system/program.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace droste::system_test {

namespace {

void replace_descriptor(int target, int source) {
    dup2(source, target);
    close(source);
}

/// Feeds the child and collects its standard output until it closes it.
std::string converse(int to, int from, const Typist& typist) {
    std::string printed;
    char buffer[4096];
    for (;;) {
        const ssize_t n = read(from, buffer, sizeof buffer);
        if (n <= 0)
            break;
        printed.append(buffer, static_cast<std::size_t>(n));
        const std::string typed = typist ? typist(printed) : "";
        if (!typed.empty() && write(to, typed.data(), typed.size()) < 0)
            break;
    }
    return printed;
}

}  // namespace

Folder::Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "droste-system-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
        throw std::runtime_error("no temporary folder");
    path_ = pattern;
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string Folder::write(const std::string& name, const std::string& bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
    return file(name);
}

Finished droste(std::vector<std::string> arguments, Report report, const Typist& typist) {
    const Folder folder;
    if (report == Report::json)
        arguments.insert(arguments.end(), {"--json", folder.file("run.json")});
    std::vector<char*> argv;
    std::string program = DROSTE_PROGRAM;
    argv.push_back(program.data());
    for (std::string& a : arguments)
        argv.push_back(a.data());
    argv.push_back(nullptr);
    const std::string errors = folder.file("err");
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        throw std::runtime_error("no pipe");
    const pid_t child = fork();
    if (child == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        replace_descriptor(STDERR_FILENO, open(errors.c_str(), O_WRONLY | O_CREAT, 0600));
        execv(argv[0], argv.data());
        _exit(99);
    }
    close(to[0]);
    close(from[1]);
    if (!typist) {
        close(to[1]);
        to[1] = -1;
    }
    Finished f;
    signal(SIGPIPE, SIG_IGN);
    f.out = converse(to[1], from[0], typist);
    close(from[0]);
    if (to[1] >= 0)
        close(to[1]);
    int raw = 0;
    waitpid(child, &raw, 0);
    f.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
    f.err = slurp(errors);
    if (report == Report::json)
        f.report = Json::parse(slurp(folder.file("run.json")), nullptr, false);
    return f;
}

std::string image(const std::string& name) {
    return source_file("guest-images/out/" + name);
}

std::string source_file(const std::string& name) {
    return DROSTE_SOURCE_DIR "/" + name;
}

std::string slurp(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

std::string cpio_member(const std::string& archive, const std::string& name) {
    // A header of 110 characters: a magic word, then fields of 8 hexadecimal digits.
    constexpr std::size_t header = 110, size_at = 54, name_size_at = 94;
    const auto aligned = [](std::size_t at) { return (at + 3) & ~std::size_t{3}; };
    for (std::size_t at = 0; at + header <= archive.size() && archive.compare(at, 6, "070701") == 0;) {
        const std::size_t size = std::stoul(archive.substr(at + size_at, 8), nullptr, 16),
                          name_size = std::stoul(archive.substr(at + name_size_at, 8), nullptr, 16),
                          data = aligned(at + header + name_size);
        if (archive.substr(at + header, name_size - 1) == name)
            return archive.substr(data, size);
        at = aligned(data + size);
    }
    return "";
}

std::string digest(const char* algorithm, const std::string& bytes) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_Digest(bytes.data(), bytes.size(), out, &size, EVP_get_digestbyname(algorithm), nullptr);
    std::string text;
    for (unsigned i = 0; i < size; ++i)
        for (const int shift : {4, 0})
            text += "0123456789abcdef"[out[i] >> shift & 15];
    return text;
}

std::vector<std::string> lines_after(const std::string& text, const std::string& start) {
    std::vector<std::string> found;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        if (!line.empty() && line.back() == '\r')
            line.pop_back();
        if (line.starts_with(start))
            found.push_back(line.substr(start.size()));
    }
    return found;
}

Json without_host_time(Json report) {
    report.erase("wall_seconds");
    report.erase("mips");
    return report;
}

}  // namespace droste::system_test
