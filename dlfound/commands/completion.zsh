# Completion of dlfound for zsh. This line in ~/.zshrc installs it:
#   eval "$(dlfound completion zsh)"

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }

_dlfound() {
    local line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX" program=${(Q)words[1]} otherwise word text
    local -a open closed
    {
        read -r otherwise
        while IFS=$'\t' read -r word text; do
            [[ $PREFIX == *=* ]] && word=${word#*=}
            text=${word//:/\\:}${text:+:$text}
            [[ $word == *(=|.) ]] && open+=($text) || closed+=($text)
        done
    } < <(${program/#\~/$HOME} completion --line=$line 2>/dev/null)
    compset -P 1 '*='
    if (( $#open + $#closed )); then
        _describe word closed -- open -S ''
    elif [[ $otherwise == files ]]; then
        _files
    elif [[ $otherwise == folders ]]; then
        _files -/
    fi
}
compdef _dlfound dlfound
