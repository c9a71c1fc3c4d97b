# Completion of dlfound for fish. This line in ~/.config/fish/config.fish installs it:
#   dlfound completion fish | source

function __dlfound_words
    set -l program (commandline -opc | string replace -r '^~/' $HOME/)[1]
    type -q $program; or return
    set -l answer ($program completion --line=(commandline -cp | string collect) 2>/dev/null)
    if set -q answer[2]
        printf '%s\n' $answer[2..]
        return
    end
    set -l head (commandline -ct | string match -r '^.*=')
    set -l rest (commandline -ct | string replace -r '^.*=' '')
    switch "$answer"
        case files
            printf '%s\n' "$head"(complete -C "'' $rest")
        case folders
            printf '%s\n' "$head"(__fish_complete_directories $rest)
    end
end
complete -c dlfound -f -a '(__dlfound_words)'
