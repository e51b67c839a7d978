# Sourced by the other scripts: makes a copy of the repository with the patches of tests/mutants, and goes there. Each mutant
# is off until DROPREEL_FAIL_MUTANT names it. Fails if a patch no longer applies.

copy=target/mutants/copy
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard -- . ':!tests/fuzz' | while IFS= read -rd '' file; do
    # A file may be deleted and not committed yet.
    [ ! -e "$file" ] || printf '%s\0' "$file"
done | xargs -0 cp --parents -t "$copy"

broken=0
for patch in tests/mutants/*.patch; do
    # No fuzz: a hunk that lands in the wrong place would add another bug than the one that is meant.
    if ! patch --directory="$copy" --strip=1 --forward --fuzz=0 --no-backup-if-mismatch --quiet <"$patch"; then
        echo "$patch no longer applies" >&2
        broken=1
    fi
done
[ "$broken" = 0 ] || exit 1

# The copy shares the dependencies of the main build. Its own version number keeps cargo from taking its crate for the
# real one, and its programs go elsewhere, so that no mutant is ever left where the real binary is expected.
export CARGO_BUILD_BUILD_DIR=$PWD/target CARGO_TARGET_DIR=$PWD/target/mutants/programs
cd "$copy"
sed -i '/^name = "dropreel"$/,/^$/s/^version = "[^"]*/&-mutants/' Cargo.toml Cargo.lock
