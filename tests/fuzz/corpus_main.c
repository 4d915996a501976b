/* Runs a fuzz target over files: those that are named, and all of the directories that are named.
 *
 *     fuzz_json tests/fuzz/corpus/json [FILE]...
 *
 * Returns 0 when every property held for every file, and there was one. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat there;
    if (file == NULL || fstat(fileno(file), &there) != 0) {
        fprintf(stderr, "fuzz: cannot read %s\n", path);
        exit(2);
    }
    size_t size = (size_t)there.st_size;
    char *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL || fread(bytes, 1, size, file) != size) {
        fprintf(stderr, "fuzz: cannot read %s\n", path);
        exit(2);
    }
    fclose(file);
    /* stays on the screen when a property does not hold */
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
    free(bytes);
}

static size_t run(const char *path)
{
    struct dirent **entries;
    struct stat there;
    if (stat(path, &there) == 0 && S_ISREG(there.st_mode)) {
        run_file(path);
        return 1;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    size_t files = 0;
    if (count < 0) {
        fprintf(stderr, "fuzz: cannot read %s\n", path);
        exit(2);
    }
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            run_file(name);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    return files;
}

int main(int argc, char **argv)
{
    size_t files = 0;
    for (int i = 1; i < argc; i++)
        files += run(argv[i]);
    printf("%zu inputs\n", files);
    return files > 0 ? 0 : 2;
}
