# Completion of dlfound for bash (4 or newer). This line in ~/.bashrc installs it:
#   eval "$(dlfound completion bash)"

_dlfound() {
    local line=${COMP_LINE:0:COMP_POINT} otherwise= word= plain='*([[:alnum:]_.,:=+/@%[]|-|])'
    local raw=${line##*[[:space:]]}
    local head=${raw%"${raw##*["$COMP_WORDBREAKS"]}"}  # is not replaced: bash splits words at = and : too
    COMPREPLY=()
    {
        read -r otherwise
        while IFS=$'\t' read -r word _; do
            word=${word#"${head//[\'\"]/}"}
            [[ ${line%"$2"} == *[\'\"] || $word == $plain ]] || printf -v word %q "$word"
            COMPREPLY+=("$word")
        done
    } < <("${1/#\~/$HOME}" completion --line="$line" 2>/dev/null)
    case ${COMPREPLY[0]-}:$otherwise in
        *[=.]:*) compopt -o nospace ;;
        :files) compopt -o default ;;
        :folders) compopt -o dirnames ;;
    esac
}
complete -F _dlfound dlfound
